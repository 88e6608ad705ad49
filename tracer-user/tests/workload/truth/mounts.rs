//! Mounts, roots and namespaces of a case's own process.

use std::{env, fs, os::unix::fs::chroot};

use super::{Case, Situation, done, granted, open, text};

/// From here on mounts are the process's own.
fn own_mounts() -> Result<(), String> {
    // SAFETY: no pointers.
    granted("unshare(CLONE_NEWNS)", unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "").map(drop)
}

fn mount(from: &str, to: &str, kind: &str, flags: u64, data: &str) -> Result<i32, String> {
    let [from, to, kind, data] = [from, to, kind, data].map(text);
    // SAFETY: four strings.
    let ret = unsafe {
        libc::mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    };
    granted(&format!("mount {kind:?} at {to:?}"), ret)
}

fn unmount(path: &str, flags: i32) {
    let path = text(path);
    // SAFETY: a string.
    done("umount2", unsafe { libc::umount2(path.as_ptr(), flags) });
}

/// A folder with a file system in memory.
fn memory(case: &Case, name: &str) -> Result<String, String> {
    let path = case.make_folder(name);
    mount("tmpfs", &path, "tmpfs", 0, "")?;
    Ok(path)
}

fn create(path: &str) -> i32 {
    open(path, libc::O_RDWR | libc::O_CREAT)
}

/// Layers, of which the lower one has the files `a` and `b`.
fn overlay(case: &Case) -> Result<String, String> {
    own_mounts()?;
    let base = memory(case, "base")?;
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(format!("{base}/{name}")).expect("a folder");
    }
    fs::write(format!("{base}/lower/a"), b"a").expect("a file");
    fs::write(format!("{base}/lower/b"), b"b").expect("a file");
    let merged = format!("{base}/merged");
    let data = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
    mount("overlay", &merged, "overlay", 0, &data)?;
    Ok(merged)
}

pub(super) const CASES: &[(&str, Situation)] = &[
    ("file system of its own", |case| {
        own_mounts()?;
        let place = memory(case, "place")?;
        case.used(create(&format!("{place}/a")));
        case.used(open(&place, libc::O_RDONLY));
        Ok(())
    }),
    ("file below a mount that came later", |case| {
        own_mounts()?;
        let below = case.make_folder("place");
        let fd = create(&format!("{below}/a"));
        mount("tmpfs", &below, "tmpfs", 0, "")?;
        case.used(fd);
        case.used(create(&format!("{below}/a")));
        Ok(())
    }),
    ("folder bound elsewhere", |case| {
        own_mounts()?;
        let (from, to) = (case.make_folder("from"), case.make_folder("to"));
        mount(&from, &to, "", libc::MS_BIND, "")?;
        case.used(create(&format!("{to}/a")));
        case.used(open(&format!("{from}/a"), libc::O_RDONLY));
        case.in_folder_of(open(&to, libc::O_RDONLY));
        Ok(())
    }),
    ("file bound over another", |case| {
        own_mounts()?;
        let old = case.file("target");
        case.file("source");
        mount(&case.path("source"), &case.path("target"), "", libc::MS_BIND, "")?;
        case.used(old);
        case.used(case.opened("target", libc::O_RDONLY));
        Ok(())
    }),
    ("bound file and folder that were removed", |case| {
        own_mounts()?;
        case.file("target");
        case.file("source");
        let [from, to] = ["from", "to"].map(|name| case.make_folder(name));
        mount(&case.path("source"), &case.path("target"), "", libc::MS_BIND, "")?;
        mount(&from, &to, "", libc::MS_BIND, "")?;
        let file = open("target", libc::O_RDONLY);
        let folder = open("to", libc::O_RDONLY);
        fs::remove_file(case.path("source")).expect("removed");
        fs::remove_dir(&from).expect("removed");
        case.used(file);
        case.used(folder);
        case.in_folder_of(folder);
        Ok(())
    }),
    ("bound folder whose source was renamed", |case| {
        own_mounts()?;
        let (from, to) = (case.make_folder("from"), case.make_folder("to"));
        mount(&from, &to, "", libc::MS_BIND, "")?;
        let fd = create(&format!("{to}/a"));
        fs::rename(&from, case.path("renamed")).expect("renamed");
        case.used(fd);
        Ok(())
    }),
    ("mounts on one another", |case| {
        own_mounts()?;
        let place = memory(case, "place")?;
        let one = create(&format!("{place}/a"));
        mount("tmpfs", &place, "tmpfs", 0, "")?;
        let two = create(&format!("{place}/b"));
        mount("tmpfs", &place, "tmpfs", 0, "")?;
        let three = create(&format!("{place}/c"));
        for fd in [one, two, three] {
            case.used(fd);
        }
        Ok(())
    }),
    ("moved mount", |case| {
        own_mounts()?;
        let place = memory(case, "place")?;
        let fd = create(&format!("{place}/a"));
        let other = case.make_folder("other");
        mount(&place, &other, "", libc::MS_MOVE, "")?;
        case.used(fd);
        Ok(())
    }),
    ("mount that is gone", |case| {
        own_mounts()?;
        let place = memory(case, "place")?;
        fs::create_dir(format!("{place}/below")).expect("a folder");
        let fd = create(&format!("{place}/below/a"));
        env::set_current_dir(format!("{place}/below")).expect("a folder");
        unmount(&place, libc::MNT_DETACH);
        case.used(fd);
        case.in_folder();
        Ok(())
    }),
    ("root of its own", |case| {
        let root = case.make_folder("root");
        let (outside, inside) = (case.file("outside"), create(&format!("{root}/inside")));
        chroot(&root).map_err(|error| format!("chroot: {error}"))?;
        case.used(outside);
        case.used(inside);
        case.in_folder();
        env::set_current_dir("/").expect("a folder");
        case.in_folder();
        case.used(open("/", libc::O_RDONLY));
        case.used(case.opened("/inside", libc::O_RDONLY));
        Ok(())
    }),
    ("root exchanged", |case| {
        own_mounts()?;
        let outside = case.file("outside");
        let root = memory(case, "root")?;
        fs::create_dir(format!("{root}/old")).expect("a folder");
        let inside = create(&format!("{root}/inside"));
        let (new, old) = (text(&root), text(&format!("{root}/old")));
        // SAFETY: two strings.
        let ret = unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) };
        granted("pivot_root", ret)?;
        env::set_current_dir("/").expect("a folder");
        case.used(outside);
        case.used(inside);
        case.in_folder();
        case.used(case.opened("/inside", libc::O_RDONLY));
        unmount("/old", libc::MNT_DETACH);
        case.used(outside);
        case.used(inside);
        Ok(())
    }),
    ("descriptor of another mount namespace", |case| {
        let before = case.file("before");
        own_mounts()?;
        let place = memory(case, "place")?;
        let inside = create(&format!("{place}/a"));
        case.used(before);
        case.used(inside);
        Ok(())
    }),
    ("tree of mounts without a place", |case| {
        own_mounts()?;
        let from = case.make_folder("from");
        create(&format!("{from}/a"));
        let path = text(&from);
        // `OPEN_TREE_CLONE`.
        // SAFETY: a string.
        let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), 1) };
        let fd = granted("open_tree", fd)?;
        case.used(fd);
        // SAFETY: a string.
        let below = unsafe { libc::openat(fd, c"a".as_ptr(), libc::O_RDONLY) };
        case.used(done("openat", below));
        Ok(())
    }),
    ("process in a pid namespace", |case| {
        // SAFETY: no pointers.
        granted("unshare(CLONE_NEWPID)", unsafe { libc::unshare(libc::CLONE_NEWPID) })?;
        crate::wait_for(crate::child(|| {
            // The links of a thread are not in a file system of another namespace's processes.
            let fd = case.file("inside");
            // SAFETY: no pointers.
            assert_eq!(unsafe { libc::getpid() }, 1);
            case.used(fd);
        }));
        Ok(())
    }),
    ("process in a user namespace", |case| {
        super::OUTSIDE.set(super::owner()).expect("set once");
        // SAFETY: no pointers.
        granted("unshare(CLONE_NEWUSER)", unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
        case.used(open(&case.folder, libc::O_RDONLY));
        case.in_folder();
        Ok(())
    }),
    ("overlay, a file of the lower layer", |case| {
        let merged = overlay(case)?;
        case.used(open(&format!("{merged}/a"), libc::O_RDONLY));
        Ok(())
    }),
    ("overlay, a file that was copied up", |case| {
        let merged = overlay(case)?;
        let lower = open(&format!("{merged}/a"), libc::O_RDONLY);
        let upper = open(&format!("{merged}/a"), libc::O_RDWR);
        case.used(lower);
        case.used(upper);
        Ok(())
    }),
    ("overlay, files made, renamed and removed", |case| {
        let merged = overlay(case)?;
        let made = create(&format!("{merged}/c"));
        case.used(made);
        fs::rename(format!("{merged}/c"), format!("{merged}/d")).expect("renamed");
        case.used(made);
        let removed = open(&format!("{merged}/b"), libc::O_RDONLY);
        fs::remove_file(format!("{merged}/b")).expect("removed");
        case.used(removed);
        Ok(())
    }),
    ("file in huge pages of memory", |case| {
        // `MFD_HUGETLB`.
        // SAFETY: a string.
        let fd = unsafe { libc::memfd_create(c"huge".as_ptr(), 4) };
        case.used(granted("MFD_HUGETLB", fd)?);
        Ok(())
    }),
];
