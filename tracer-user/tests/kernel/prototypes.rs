//! Prototypes of the functions behind the system calls, as the running kernel has them: of those that
//! were not inlined in its BTF, <https://docs.kernel.org/bpf/btf.html>, and of all native ones, as text,
//! in tracefs (`CONFIG_FTRACE_SYSCALLS`).

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    fs,
    path::Path,
    ptr, thread,
};

use super::support::skipped;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const TRACEFS: &str = "/sys/kernel/tracing";

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Pointer,
    /// A number of so many bytes.
    Number {
        bytes: u32,
        signed: bool,
    },
}

/// Name and type.
pub(crate) type Parameter = (String, Type);

/// What is known of the kernel's functions.
pub(crate) struct Prototypes {
    btf: Btf,
    /// By the name in `SYSCALL_DEFINE`.
    native: HashMap<String, Vec<Parameter>>,
}

impl Prototypes {
    /// Those of the running kernel; nothing, said loudly, where it does not show them.
    pub(crate) fn read() -> Option<Self> {
        let Ok(bytes) = fs::read(BTF) else {
            skipped(&format!("the kernel shows no prototypes at {BTF}"));
            return None;
        };
        let btf = Btf::parse(&bytes);
        let Some(formats) = formats() else {
            skipped(
                "the kernel was built without CONFIG_FTRACE_SYSCALLS, or tracefs cannot be mounted",
            );
            return None;
        };
        let native = formats.iter().map(|(name, text)| (name.clone(), parameters(&btf, text)));
        Some(Self { native: native.collect(), btf })
    }

    /// The parameters of a system call's function, by the name in `SYSCALL_DEFINE`.
    pub(crate) fn native(&self, name: &str) -> Option<Vec<Parameter>> {
        self.native.get(name).cloned().or_else(|| self.function(&format!("__do_sys_{name}")))
    }

    /// The parameters of any function of the kernel.
    pub(crate) fn function(&self, name: &str) -> Option<Vec<Parameter>> {
        self.btf.functions.get(name).map(|id| self.btf.parameters(*id))
    }

    /// Bytes of a type with a name.
    pub(crate) fn size(&self, name: &str) -> Option<u32> {
        match self.btf.number(*self.btf.named.get(name)?)? {
            Type::Number { bytes, .. } => Some(bytes),
            Type::Pointer => None,
        }
    }
}

/// The descriptions of the parameters, `umode_t mode`, by the name of the call.
fn formats() -> Option<Vec<(String, Vec<String>)>> {
    // A thread of its own, whose mounts nobody else sees.
    let found = thread::Builder::new().name("tracefs".to_owned()).spawn(|| {
        let place = Path::new(TRACEFS);
        if !place.join("events/syscalls").exists() && !mount(place) {
            return None;
        }
        let folders = fs::read_dir(place.join("events/syscalls")).ok()?;
        let formats = folders.filter_map(|folder| {
            let folder = folder.ok()?;
            let name =
                folder.file_name().into_string().ok()?.strip_prefix("sys_enter_")?.to_owned();
            Some((name, fields(&fs::read_to_string(folder.path().join("format")).ok()?)))
        });
        Some(formats.collect())
    });
    found.expect("a thread").join().expect("no panic")
}

/// Mounts tracefs for this thread alone.
fn mount(place: &Path) -> bool {
    let target = CString::new(place.to_str().expect("UTF-8")).expect("no zero byte");
    // SAFETY: takes a number; the thread is of its own.
    let is_own = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    let mount = |source: &CStr, target: &CStr, kind: *const libc::c_char, flags| {
        // SAFETY: strings that end in zero, or none, and no data.
        let mounted =
            unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) };
        mounted == 0
    };
    is_own
        && mount(c"none", c"/", ptr::null(), libc::MS_REC | libc::MS_PRIVATE)
        && mount(c"tracefs", &target, c"tracefs".as_ptr(), 0)
}

/// The parameters of a `format` file: its fields behind those of all events and the number.
fn fields(text: &str) -> Vec<String> {
    const COMMON: usize = 5;
    let fields = text.lines().filter_map(|line| line.trim().strip_prefix("field:"));
    let declared = fields.filter_map(|line| line.split(';').next());
    declared.skip(COMMON).map(str::to_owned).collect()
}

fn parameters(btf: &Btf, declarations: &[String]) -> Vec<Parameter> {
    let parameter = |text: &String| {
        let at = text.rfind([' ', '*']).expect("a type and a name") + 1;
        (text[at..].to_owned(), declared(btf, &text[..at]))
    };
    declarations.iter().map(parameter).collect()
}

/// The type of a declaration in C.
fn declared(btf: &Btf, text: &str) -> Type {
    if text.contains('*') {
        return Type::Pointer;
    }
    let words =
        text.split_whitespace().filter(|word| !matches!(*word, "const" | "enum" | "struct"));
    let name = words.collect::<Vec<_>>().join(" ");
    let number = |bytes, signed| Type::Number { bytes, signed };
    match name.as_str() {
        "int" => number(4, true),
        "unsigned" | "unsigned int" => number(4, false),
        "long" => number(8, true),
        "unsigned long" => number(8, false),
        name => {
            let known = btf.named.get(name).and_then(|id| btf.number(*id));
            known.unwrap_or_else(|| panic!("BTF has no type `{name}`"))
        }
    }
}

/// A type, as far as it is needed here.
enum Kind {
    Pointer,
    Number {
        bytes: u32,
        signed: bool,
    },
    /// Another name of a type, or a qualifier of it.
    Other(u32),
    /// Names and types of parameters.
    Prototype(Vec<(u32, u32)>),
    Unused,
}

struct Btf {
    strings: Vec<u8>,
    types: Vec<Kind>,
    /// Numbers and other names of them.
    named: HashMap<String, u32>,
    /// Prototypes by the function's name.
    functions: HashMap<String, u32>,
}

impl Btf {
    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let section = |at: usize| {
            let from = (word(4) + word(at)) as usize;
            &bytes[from..from + word(at + 4) as usize]
        };
        let mut btf = Self {
            strings: section(16).to_vec(),
            types: vec![Kind::Unused],
            named: HashMap::new(),
            functions: HashMap::new(),
        };
        let words =
            section(8).chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
        let words: Vec<u32> = words.collect();
        let mut rest = &words[..];
        while let [name, info, third, tail @ ..] = rest {
            let taken = btf.add(*name, *info, *third, tail);
            rest = &tail[taken..];
        }
        btf
    }

    /// Adds a type; how many words it has behind the three that all have.
    fn add(&mut self, name: u32, info: u32, third: u32, tail: &[u32]) -> usize {
        let id = u32::try_from(self.types.len()).unwrap();
        let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let flag = info >> 31 == 1;
        let (added, taken) = match kind {
            // INT, whose word says in bit 24 that it has a sign; ENUM and ENUM64.
            1 => (Kind::Number { bytes: third, signed: tail[0] >> 24 & 1 == 1 }, 1),
            6 => (Kind::Number { bytes: third, signed: flag }, count * 2),
            19 => (Kind::Number { bytes: third, signed: flag }, count * 3),
            2 => (Kind::Pointer, 0),
            // TYPEDEF, VOLATILE, CONST, RESTRICT and TYPE_TAG
            8..=11 | 18 => (Kind::Other(third), 0),
            13 => {
                let pairs = tail[..count * 2].chunks_exact(2).map(|pair| (pair[0], pair[1]));
                (Kind::Prototype(pairs.collect()), count * 2)
            }
            // ARRAY; STRUCT, UNION and DATASEC; VAR and DECL_TAG
            3 => (Kind::Unused, 3),
            4 | 5 | 15 => (Kind::Unused, count * 3),
            14 | 17 => (Kind::Unused, 1),
            _ => (Kind::Unused, 0),
        };
        self.types.push(added);
        if matches!(kind, 1 | 6 | 8 | 19) && name != 0 {
            self.named.entry(self.string(name)).or_insert(id);
        }
        // FUNC
        if kind == 12 {
            self.functions.insert(self.string(name), third);
        }
        taken
    }

    fn string(&self, offset: u32) -> String {
        let tail = &self.strings[offset as usize..];
        let end = tail.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8_lossy(&tail[..end]).into_owned()
    }

    fn number(&self, id: u32) -> Option<Type> {
        match self.types.get(id as usize)? {
            Kind::Pointer => Some(Type::Pointer),
            Kind::Number { bytes, signed } => Some(Type::Number { bytes: *bytes, signed: *signed }),
            Kind::Other(id) => self.number(*id),
            Kind::Prototype(_) | Kind::Unused => None,
        }
    }

    fn parameters(&self, id: u32) -> Vec<Parameter> {
        let Kind::Prototype(pairs) = &self.types[id as usize] else {
            panic!("a function has a prototype");
        };
        // A structure by value has no width; no system call has one.
        let known =
            pairs.iter().filter_map(|(name, id)| Some((self.string(*name), self.number(*id)?)));
        known.collect()
    }
}
