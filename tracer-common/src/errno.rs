//! Names of error numbers.

/// The numbers 0 to 133, of include/uapi/asm-generic/errno-base.h and errno.h in
/// <https://github.com/torvalds/linux/tree/v6.12/include/uapi/asm-generic>; empty where there is
/// none.
static PUBLIC: [&str; 134] = [
    "",
    "EPERM",
    "ENOENT",
    "ESRCH",
    "EINTR",
    "EIO",
    "ENXIO",
    "E2BIG",
    "ENOEXEC",
    "EBADF",
    "ECHILD",
    "EAGAIN",
    "ENOMEM",
    "EACCES",
    "EFAULT",
    "ENOTBLK",
    "EBUSY",
    "EEXIST",
    "EXDEV",
    "ENODEV",
    "ENOTDIR",
    "EISDIR",
    "EINVAL",
    "ENFILE",
    "EMFILE",
    "ENOTTY",
    "ETXTBSY",
    "EFBIG",
    "ENOSPC",
    "ESPIPE",
    "EROFS",
    "EMLINK",
    "EPIPE",
    "EDOM",
    "ERANGE",
    "EDEADLK",
    "ENAMETOOLONG",
    "ENOLCK",
    "ENOSYS",
    "ENOTEMPTY",
    "ELOOP",
    "",
    "ENOMSG",
    "EIDRM",
    "ECHRNG",
    "EL2NSYNC",
    "EL3HLT",
    "EL3RST",
    "ELNRNG",
    "EUNATCH",
    "ENOCSI",
    "EL2HLT",
    "EBADE",
    "EBADR",
    "EXFULL",
    "ENOANO",
    "EBADRQC",
    "EBADSLT",
    "",
    "EBFONT",
    "ENOSTR",
    "ENODATA",
    "ETIME",
    "ENOSR",
    "ENONET",
    "ENOPKG",
    "EREMOTE",
    "ENOLINK",
    "EADV",
    "ESRMNT",
    "ECOMM",
    "EPROTO",
    "EMULTIHOP",
    "EDOTDOT",
    "EBADMSG",
    "EOVERFLOW",
    "ENOTUNIQ",
    "EBADFD",
    "EREMCHG",
    "ELIBACC",
    "ELIBBAD",
    "ELIBSCN",
    "ELIBMAX",
    "ELIBEXEC",
    "EILSEQ",
    "ERESTART",
    "ESTRPIPE",
    "EUSERS",
    "ENOTSOCK",
    "EDESTADDRREQ",
    "EMSGSIZE",
    "EPROTOTYPE",
    "ENOPROTOOPT",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "EOPNOTSUPP",
    "EPFNOSUPPORT",
    "EAFNOSUPPORT",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "ENETDOWN",
    "ENETUNREACH",
    "ENETRESET",
    "ECONNABORTED",
    "ECONNRESET",
    "ENOBUFS",
    "EISCONN",
    "ENOTCONN",
    "ESHUTDOWN",
    "ETOOMANYREFS",
    "ETIMEDOUT",
    "ECONNREFUSED",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EALREADY",
    "EINPROGRESS",
    "ESTALE",
    "EUCLEAN",
    "ENOTNAM",
    "ENAVAIL",
    "EISNAM",
    "EREMOTEIO",
    "EDQUOT",
    "ENOMEDIUM",
    "EMEDIUMTYPE",
    "ECANCELED",
    "ENOKEY",
    "EKEYEXPIRED",
    "EKEYREVOKED",
    "EKEYREJECTED",
    "EOWNERDEAD",
    "ENOTRECOVERABLE",
    "ERFKILL",
    "EHWPOISON",
];

/// The first of [`INTERNAL`].
const INTERNAL_FIRST: usize = 512;

/// The numbers from 512 on, which user space is not meant to see:
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/errno.h>.
static INTERNAL: [&str; 20] = [
    "ERESTARTSYS",
    "ERESTARTNOINTR",
    "ERESTARTNOHAND",
    "ENOIOCTLCMD",
    "ERESTART_RESTARTBLOCK",
    "EPROBE_DEFER",
    "EOPENSTALE",
    "ENOPARAM",
    "",
    "EBADHANDLE",
    "ENOTSYNC",
    "EBADCOOKIE",
    "ENOTSUPP",
    "ETOOSMALL",
    "ESERVERFAULT",
    "EBADTYPE",
    "EJUKEBOX",
    "EIOCBQUEUED",
    "ERECALLCONFLICT",
    "ENOGRACE",
];

/// Second names of numbers.
static ALIASES: [(&str, &str); 3] =
    [("EWOULDBLOCK", "EAGAIN"), ("EDEADLOCK", "EDEADLK"), ("ENOTSUP", "EOPNOTSUPP")];

/// The name of an error number, which is positive.
pub const fn name(errno: u32) -> Option<&'static str> {
    let index = errno as usize;
    let name = if index < PUBLIC.len() {
        PUBLIC[index]
    } else if index >= INTERNAL_FIRST && index - INTERNAL_FIRST < INTERNAL.len() {
        INTERNAL[index - INTERNAL_FIRST]
    } else {
        ""
    };
    if name.is_empty() { None } else { Some(name) }
}

/// The number of an error name; also of `EWOULDBLOCK`, `EDEADLOCK` and `ENOTSUP`.
pub fn number(name: &str) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    let public = (0..).zip(&PUBLIC);
    let internal = (INTERNAL_FIRST..).zip(&INTERNAL);
    let (index, _) = public.chain(internal).find(|(_, known)| **known == name)?;
    u32::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for (errno, expected) in [
            (1, "EPERM"),
            (2, "ENOENT"),
            (11, "EAGAIN"),
            (34, "ERANGE"),
            (35, "EDEADLK"),
            (38, "ENOSYS"),
            (85, "ERESTART"),
            (95, "EOPNOTSUPP"),
            (110, "ETIMEDOUT"),
            (133, "EHWPOISON"),
            (512, "ERESTARTSYS"),
            (516, "ERESTART_RESTARTBLOCK"),
            (519, "ENOPARAM"),
            (521, "EBADHANDLE"),
            (524, "ENOTSUPP"),
            (531, "ENOGRACE"),
        ] {
            assert_eq!(name(errno), Some(expected));
            assert_eq!(number(expected), Some(errno));
        }
        for errno in [0, 41, 58, 134, 511, 520, 532, u32::MAX] {
            assert_eq!(name(errno), None, "{errno}");
        }
    }

    #[test]
    fn every_name_leads_back() {
        let names = (0..4096).filter_map(|errno| Some((errno, name(errno)?)));
        let mut count = 0;
        for (errno, name) in names {
            assert_eq!(number(name), Some(errno));
            count += 1;
        }
        assert_eq!(count, 131 + 19);
    }

    #[test]
    fn aliases() {
        assert_eq!(number("EWOULDBLOCK"), Some(11));
        assert_eq!(number("EDEADLOCK"), Some(35));
        assert_eq!(number("ENOTSUP"), Some(95));
        assert_eq!(number(""), None);
        assert_eq!(number("EWHAT"), None);
    }
}
