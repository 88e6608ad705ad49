//! Files that are renamed, removed, replaced, and have odd names.

use std::{env, fs, os::unix::fs::symlink};

use super::{Situation, done, granted, open, text};

pub(super) const CASES: &[(&str, Situation)] = &[
    ("plain file", |case| {
        case.used(case.file("a"));
        Ok(())
    }),
    ("opened file", |case| {
        case.used(case.opened("a", libc::O_RDWR | libc::O_CREAT));
        Ok(())
    }),
    ("folder as a descriptor", |case| {
        let fd = open(&case.folder, libc::O_RDONLY | libc::O_DIRECTORY);
        case.used(fd);
        case.in_folder_of(fd);
        Ok(())
    }),
    ("root", |case| {
        let fd = open("/", libc::O_RDONLY);
        case.used(fd);
        case.in_folder_of(fd);
        Ok(())
    }),
    ("link that leads elsewhere after the open", |case| {
        case.file("one");
        case.file("two");
        symlink("one", "link").expect("a link");
        let fd = case.opened("link", libc::O_RDONLY);
        fs::remove_file("link").expect("removed");
        symlink("two", "link").expect("a link");
        case.used(fd);
        case.used(case.opened("link", libc::O_RDONLY));
        Ok(())
    }),
    ("link that is replaced in one step", |case| {
        for (number, target) in ["one", "two"].into_iter().cycle().take(10).enumerate() {
            case.file(target);
            symlink(target, "next").expect("a link");
            fs::rename("next", "link").expect("renamed");
            let fd = case.opened("link", libc::O_RDONLY);
            case.used(fd);
            if number % 2 == 0 {
                super::close(fd);
            }
        }
        Ok(())
    }),
    ("link to a folder on the way", |case| {
        case.make_folder("real");
        symlink("real", "link").expect("a link");
        case.used(case.opened("link/a", libc::O_RDWR | libc::O_CREAT));
        Ok(())
    }),
    ("dots on the way", |case| {
        case.make_folder("below");
        case.used(case.opened("./below/.././below//a", libc::O_RDWR | libc::O_CREAT));
        Ok(())
    }),
    ("renamed file", |case| {
        let fd = case.file("before");
        fs::rename("before", "after").expect("renamed");
        case.used(fd);
        Ok(())
    }),
    ("file replaced by a rename", |case| {
        let (old, new) = (case.file("name"), case.file("other"));
        fs::rename("other", "name").expect("renamed");
        case.used(old);
        case.used(new);
        Ok(())
    }),
    ("files exchanged", |case| {
        let (one, two) = (case.file("one"), case.file("two"));
        let (from, to) = (text("one"), text("two"));
        let here = libc::AT_FDCWD;
        // SAFETY: two strings.
        let ret = unsafe {
            let exchange = libc::RENAME_EXCHANGE;
            libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), exchange)
        };
        granted("RENAME_EXCHANGE", ret)?;
        case.used(one);
        case.used(two);
        Ok(())
    }),
    ("renamed folder above", |case| {
        case.make_folder("one");
        case.make_folder("one/two");
        let fd = case.file("one/two/a");
        fs::rename("one", "three").expect("renamed");
        case.used(fd);
        Ok(())
    }),
    ("moved to another folder", |case| {
        case.make_folder("one");
        case.make_folder("two");
        let fd = case.file("one/a");
        fs::rename("one/a", "two/b").expect("renamed");
        case.used(fd);
        Ok(())
    }),
    ("second link, the first removed", |case| {
        let fd = case.file("one");
        fs::hard_link("one", "two").expect("a link");
        case.used(fd);
        fs::remove_file("one").expect("removed");
        case.used(fd);
        case.used(open("two", libc::O_RDONLY));
        Ok(())
    }),
    ("removed file", |case| {
        let fd = case.file("a");
        fs::remove_file("a").expect("removed");
        case.used(fd);
        Ok(())
    }),
    ("removed and made again", |case| {
        let fd = case.file("a");
        fs::remove_file("a").expect("removed");
        let again = case.file("a");
        case.used(fd);
        case.used(again);
        Ok(())
    }),
    ("removed folder", |case| {
        let fd = open(&case.make_folder("a"), libc::O_RDONLY);
        fs::remove_dir("a").expect("removed");
        case.used(fd);
        case.in_folder_of(fd);
        Ok(())
    }),
    ("file in a removed folder", |case| {
        case.make_folder("a");
        let fd = case.file("a/b");
        fs::remove_dir_all("a").expect("removed");
        case.used(fd);
        Ok(())
    }),
    ("file removed from a renamed folder", |case| {
        case.make_folder("a");
        let fd = case.file("a/b");
        fs::remove_file("a/b").expect("removed");
        fs::rename("a", "c").expect("renamed");
        case.used(fd);
        Ok(())
    }),
    ("name that ends like that of a removed file", |case| {
        case.used(case.file("a (deleted)"));
        let fd = case.file("b (deleted)");
        fs::remove_file("b (deleted)").expect("removed");
        case.used(fd);
        Ok(())
    }),
    ("odd characters", |case| {
        for name in ["new\nline", "\t\u{1b}[31m", "<b>", "back\\slash", "quo\"te", "\u{e9}\u{4e2d}"]
        {
            case.used(case.file(name));
        }
        Ok(())
    }),
    ("bytes that are no text", |case| {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes: Vec<u8> = (1..=u8::MAX).filter(|byte| *byte != b'/').skip(100).collect();
        let path = std::path::Path::new(&case.folder).join(std::ffi::OsStr::from_bytes(&bytes));
        let file = fs::File::create(path).map_err(|error| error.to_string())?;
        case.used(std::os::fd::IntoRawFd::into_raw_fd(file));
        Ok(())
    }),
    ("names at the limits of what the kernel keeps in place", |case| {
        for len in [1, 31, 32, 33, 39, 40, 41, 63, 64, 255] {
            case.used(case.file(&"n".repeat(len)));
        }
        Ok(())
    }),
    ("long path", |case| {
        let mut path = case.folder.clone();
        for _ in 0..12 {
            path = format!("{path}/{}", "p".repeat(250));
            fs::create_dir(&path).expect("a folder");
        }
        case.used(open(&format!("{path}/a"), libc::O_RDWR | libc::O_CREAT));
        Ok(())
    }),
    ("deep path", |case| {
        for level in 0..40 {
            let name = format!("l{level}");
            fs::create_dir(&name).expect("a folder");
            env::set_current_dir(&name).expect("a folder");
        }
        case.used(open("a", libc::O_RDWR | libc::O_CREAT));
        case.in_folder();
        Ok(())
    }),
    ("more folders than are kept", |case| {
        for level in 0..80 {
            let name = format!("l{level}");
            fs::create_dir(&name).expect("a folder");
            env::set_current_dir(&name).expect("a folder");
        }
        case.used(open("a", libc::O_RDWR | libc::O_CREAT));
        case.in_folder();
        case.in_folder_of(open(".", libc::O_RDONLY));
        Ok(())
    }),
    ("longer than what is kept", |case| {
        for _ in 0..16 {
            let name = "p".repeat(250);
            fs::create_dir(&name).expect("a folder");
            env::set_current_dir(&name).expect("a folder");
        }
        let fd = open(".", libc::O_RDONLY);
        case.used(open("a", libc::O_RDWR | libc::O_CREAT));
        case.in_folder();
        case.in_folder_of(fd);
        Ok(())
    }),
    ("open without access", |case| {
        case.file("a");
        symlink("a", "link").expect("a link");
        case.used(case.opened("a", libc::O_PATH));
        case.used(case.opened("link", libc::O_PATH));
        case.used(case.opened("link", libc::O_PATH | libc::O_NOFOLLOW));
        case.in_folder_of(case.opened(".", libc::O_PATH));
        Ok(())
    }),
    ("file without a name", |case| {
        let here = text(&case.folder);
        // SAFETY: a string.
        let fd = unsafe { libc::open(here.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600) };
        let fd = granted("O_TMPFILE", fd)?;
        case.used(fd);
        let (from, to) = (text(&format!("/proc/self/fd/{fd}")), text("named"));
        // SAFETY: two strings.
        let ret = unsafe {
            let (here, flags) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
            libc::linkat(here, from.as_ptr(), here, to.as_ptr(), flags)
        };
        granted("linkat", ret)?;
        case.used(fd);
        case.used(open("named", libc::O_RDONLY));
        Ok(())
    }),
    ("opened again by its number", |case| {
        let fd = case.file("a");
        case.used(case.opened(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY));
        case.used(case.opened(&format!("/dev/fd/{fd}"), libc::O_RDONLY));
        fs::remove_file("a").expect("removed");
        case.used(case.opened(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY));
        Ok(())
    }),
    ("files of processes", |case| {
        for path in
            ["/proc/thread-self/comm", "/proc/self/status", "/proc/self/exe", "/proc/self/fd"]
        {
            case.used(case.opened(path, libc::O_RDONLY));
        }
        case.used(case.opened("/proc/self", libc::O_PATH | libc::O_NOFOLLOW));
        Ok(())
    }),
    ("file of a process that has ended", |case| {
        let pid = crate::child(|| {
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        });
        let fd = case.opened(&format!("/proc/{pid}/status"), libc::O_RDONLY);
        case.used(fd);
        // SAFETY: our own child, not yet waited for.
        done("kill", unsafe { libc::kill(pid, libc::SIGKILL) });
        crate::wait_for(pid);
        case.used(fd);
        Ok(())
    }),
    ("files of devices and of the kernel", |case| {
        for path in ["/dev/null", "/dev/zero", "/dev/full", "/sys/kernel/mm", "/proc/filesystems"] {
            case.used(case.opened(path, libc::O_RDONLY));
        }
        Ok(())
    }),
];
