//! The `regraft` command: flags become a checked configuration, the configuration becomes a call into the library, the
//! answer becomes text or JSON. No logic of its own.

mod arguments;
mod commands;
mod exit;
mod output;
mod progress;
mod zoo;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = match arguments::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too, on standard output and with success.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match commands::run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error.to_string());
            exit::code(&error)
        }
    }
}
