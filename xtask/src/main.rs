//! Tasks.
mod codegen;

fn main() -> anyhow::Result<()> {
    codegen::run(std::env::args().any(|arg| arg == "--check"))
}
