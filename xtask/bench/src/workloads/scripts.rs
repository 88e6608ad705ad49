//! Programs that start, work and end: a worker runs them as its children.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bench::Bench,
    job::{Done, Job},
    tracers::Target,
    worker::{Took, Worker},
};

/// Folders of the tree that git looks at, and files in each.
const FOLDERS: usize = 200;
const FILES: usize = 100;
/// When those files were changed, after 1970.
const AGE: Duration = Duration::from_secs(1_700_000_000);
/// Files that gcc compiles.
const UNITS: usize = 12;

/// A script, over and over.
struct Script {
    worker: Worker,
    line: String,
    turns: u64,
}

impl Job for Script {
    fn target(&self) -> Target {
        Target { pid: self.worker.pid(), tree: true }
    }

    fn run(&mut self, slowness: u64) -> Result<Done> {
        let turns = (self.turns / slowness).max(1);
        let mut sum = Took { cpu: 0, wall: 0 };
        for _ in 0..turns {
            let Took { cpu, wall } = self.worker.run(&self.line)?;
            sum = Took { cpu: sum.cpu + cpu, wall: sum.wall + wall };
        }
        Ok(Done { turns, took: sum, calls: None })
    }
}

fn script(bench: &Bench, under: &[String], line: String, turns: u64) -> Result<Box<dyn Job>> {
    let worker = Worker::start(bench.work_cpu(), under)?;
    Ok(Box::new(Script { worker, line, turns }))
}

/// A folder that is made once in a run.
fn once(bench: &Bench, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = bench.folder().join(name);
    if !folder.exists() {
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        fill(&folder).with_context(|| format!("filling {}", folder.display()))?;
    }
    Ok(folder)
}

/// `git status` where nothing has changed.
pub(super) fn git(bench: &Bench, under: &[String]) -> Result<Box<dyn Job>> {
    let tree = once(bench, "tree", fill_tree)?;
    let line = format!("{} status --porcelain", git_in(&tree));
    script(bench, under, line, 10)
}

fn git_in(tree: &Path) -> String {
    // No configuration but this.
    format!(
        "cd {0} && HOME={0} GIT_CONFIG_NOSYSTEM=1 GIT_OPTIONAL_LOCKS=0 git -c user.name=n \
         -c user.email=e -c gc.auto=0",
        tree.display()
    )
}

fn fill_tree(tree: &Path) -> Result<()> {
    for folder in 0..FOLDERS {
        let folder = tree.join(format!("folder-{folder}"));
        fs::create_dir(&folder)?;
        for file in 0..FILES {
            let mut new = File::create(folder.join(format!("file-{file}.txt")))?;
            writeln!(new, "{file}")?;
            // Files as young as git's index have to be read each time.
            new.set_modified(SystemTime::UNIX_EPOCH + AGE)?;
        }
    }
    let git = git_in(tree);
    let script = format!("{git} init -q && {git} add . && {git} commit -q -m all");
    shell(&script.replace("GIT_OPTIONAL_LOCKS=0", ""))
}

fn shell(script: &str) -> Result<()> {
    let output = Command::new("/bin/sh").args(["-ec", script]).stdin(Stdio::null()).output();
    let output = output.context("sh")?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Compiles and links, file by file.
pub(super) fn gcc(bench: &Bench, under: &[String]) -> Result<Box<dyn Job>> {
    let project = once(bench, "project", fill_project)?;
    let units: Vec<String> = (0..UNITS).map(|unit| unit.to_string()).collect();
    let line = format!(
        "cd {} && for u in {}; do gcc -O1 -c unit$u.c -o unit$u.o; done && gcc -o program *.o",
        project.display(),
        units.join(" ")
    );
    script(bench, under, line, 1)
}

fn fill_project(project: &Path) -> Result<()> {
    for unit in 0..UNITS {
        fs::write(project.join(format!("unit{unit}.c")), source(unit)?)?;
    }
    Ok(())
}

/// A file of C with what programs include, and some functions.
fn source(unit: usize) -> Result<String> {
    let mut text = String::new();
    for header in ["stdio", "stdlib", "string", "errno", "unistd", "sys/types", "sys/socket"] {
        writeln!(text, "#include <{header}.h>")?;
    }
    for function in 0..20 {
        writeln!(
            text,
            "int unit{unit}_f{function}(const char *s, int n) {{\n\
             \tchar b[64]; int i, sum = {function};\n\
             \tfor (i = 0; i < n; i++) sum += s[i] * i;\n\
             \tsnprintf(b, sizeof b, \"%d %s\", sum, s);\n\
             \treturn (int)strlen(b) + sum;\n}}"
        )?;
    }
    if unit == 0 {
        text.push_str("int main(void) { return unit0_f0(\"x\", 1) == 0; }\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_the_main_function() {
        let mains = (0..UNITS).filter(|unit| source(*unit).unwrap().contains("int main"));
        assert_eq!(mains.count(), 1);
    }
}
