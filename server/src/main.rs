//! `balas`: one binary, whose role is the first argument or the name it was called by.

use balas_server::config::file::Loaded;
use balas_server::process;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args = if args.first().is_some_and(|arg| arg == "server") { &args[1..] } else { &args[..] };
    let mut loaded = Loaded::default();
    let (file, directives) = match args.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (Some(PathBuf::from(first)), rest),
        _ => (None, args),
    };
    let read = match &file {
        Some(file) => loaded.read_file(file),
        None => Ok(()),
    };
    if let Err(error) = read.and_then(|()| loaded.read_args(directives)) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match process::serve(loaded, file) {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
