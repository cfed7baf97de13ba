//! The `vaguemestre` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    vaguemestre::cli::run(vaguemestre::cli::Arguments::parse())
}
