//! Current folders.

use std::{env, fs};

use super::{Case, Situation, done, open};

pub(super) const CASES: &[(&str, Situation)] = &[
    ("current folder", |case| {
        case.in_folder();
        env::set_current_dir("/").expect("a folder");
        case.in_folder();
        Ok(())
    }),
    ("current folder by a link", |case| {
        case.make_folder("real");
        std::os::unix::fs::symlink("real", "link").expect("a link");
        env::set_current_dir("link").expect("a folder");
        case.in_folder();
        Ok(())
    }),
    ("current folder by a descriptor", |case| {
        let fd = open(&case.make_folder("below"), libc::O_RDONLY);
        // SAFETY: no pointers.
        done("fchdir", unsafe { libc::fchdir(fd) });
        case.in_folder();
        case.in_folder_of(fd);
        Ok(())
    }),
    ("current folder renamed", |case| {
        enter(case, "below");
        fs::rename(case.path("below"), case.path("renamed")).expect("renamed");
        case.in_folder();
        Ok(())
    }),
    ("current folder removed", |case| {
        enter(case, "below");
        fs::remove_dir(case.path("below")).expect("removed");
        case.in_folder();
        Ok(())
    }),
    ("current folder removed and made again", |case| {
        enter(case, "below");
        fs::remove_dir(case.path("below")).expect("removed");
        case.make_folder("below");
        case.in_folder();
        env::set_current_dir(case.path("below")).expect("a folder");
        case.in_folder();
        Ok(())
    }),
    ("folder on the way replaced by a link", |case| {
        enter(case, "one");
        let fd = open(".", libc::O_RDONLY);
        fs::rename(case.path("one"), case.path("two")).expect("renamed");
        std::os::unix::fs::symlink("/etc", case.path("one")).expect("a link");
        case.in_folder();
        case.in_folder_of(fd);
        Ok(())
    }),
];

fn enter(case: &Case, name: &str) {
    env::set_current_dir(case.make_folder(name)).expect("a folder");
}
