//! The `vaguemestre` program: reads its arguments and hands over. A placeholder that knows its version until the commands land.

use clap::Parser;

/// A whole MSSanté trust space on a laptop, and a mail gateway that stands inside one.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {}

fn main() {
    let Arguments {} = Arguments::parse();
}
