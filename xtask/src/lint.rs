//! `cargo xtask lint`: formatting, clippy, documentation, and the rules of [`crate::tidy`].

use anyhow::Result;

use crate::{built, command, tidy};

/// Features of tracer-user by which people build it, beside all of them: the library alone, for who has
/// an exporter of their own, with one of ours, and the command.
const FEATURES: [&str; 6] = ["", "otlp", "parquet", "object-store", "cli", "cli,otlp"];

/// Runs every check, up to the first that fails.
pub(crate) fn run() -> Result<()> {
    // Of the eBPF crate too.
    command::run(command::cargo()?.args(["fmt", "--all", "--check"]))?;
    let mut clippy = command::cargo()?;
    clippy.args(["clippy", "--locked"]).args(built::SELECTION);
    clippy.args(["--all-targets", "--", "-D", "warnings"]);
    command::run(&mut clippy)?;
    let mut doc = command::cargo()?;
    doc.args(["doc", "--locked", "--no-deps"]).args(built::SELECTION);
    // There are no examples: that they are asked for gives libraries the features that they have for
    // tests, with which clippy has checked them.
    doc.args(["--lib", "--bins", "--examples"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    features()?;
    tidy::run()
}

/// Whether tracer-user can be built with less than all features.
fn features() -> Result<()> {
    for features in FEATURES {
        let mut clippy = command::cargo()?;
        clippy.args(["clippy", "--locked", "-p", "tracer-user", "--no-default-features"]);
        clippy.args(["--features", features, "--", "-D", "warnings"]);
        command::run(&mut clippy)?;
    }
    Ok(())
}
