//! The `vaguemestre` binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    vaguemestre::cli::run(vaguemestre::cli::Arguments::parse())
}
