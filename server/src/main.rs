//! `balas`: one binary, whose role is the first argument or the name it was called by.

use balas_server::process::{self, cli};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let called = if args.is_empty() { String::new() } else { args.remove(0) };
    let called = Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let role = role_by_name(called).or_else(|| role_by_word(&mut args)).unwrap_or("server");
    match role {
        "server" if !args.iter().any(|arg| arg == "--sentinel") => serve(&args),
        "server" => not_yet("sentinel"),
        "cluster" | "cli" | "top" => {
            args.insert(0, role.to_owned());
            admin::run(&args)
        }
        "check-rdb" => checked(process::check_rdb(&args)),
        "check-aof" => checked(process::check_aof(&args)),
        role => not_yet(role),
    }
}

fn checked(code: std::io::Result<i32>) -> ExitCode {
    match code {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The role that the name of a stock tool stands for.
fn role_by_name(called: &str) -> Option<&'static str> {
    const ROLES: [&str; 5] = ["sentinel", "check-rdb", "check-aof", "cli", "benchmark"];
    ROLES.into_iter().find(|role| called.ends_with(&format!("-{role}")))
}

/// The role named by the first argument, which is taken off.
fn role_by_word(args: &mut Vec<String>) -> Option<&'static str> {
    const ROLES: [&str; 8] =
        ["server", "sentinel", "check-rdb", "check-aof", "cli", "benchmark", "cluster", "top"];
    let role = ROLES.into_iter().find(|role| args.first().is_some_and(|arg| arg == role))?;
    // But what if a configuration file has that name? A file is what it says with a path: `./server`.
    args.remove(0);
    Some(role)
}

fn serve(args: &[String]) -> ExitCode {
    let result = match cli::parse(args) {
        Ok(cli::Asked::Version) => {
            println!("{}", cli::version());
            return ExitCode::SUCCESS;
        }
        Ok(cli::Asked::Help) => {
            // As stock: who asks for help has not started a server.
            eprintln!("{}", cli::HELP);
            return ExitCode::FAILURE;
        }
        Ok(cli::Asked::TestMemory { megabytes }) => return process::memory_test::run(megabytes),
        Ok(cli::Asked::CheckSystem) => return process::system_check::run(),
        Ok(cli::Asked::Serve(start)) => process::serve(*start),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(code) => ExitCode::from(code as u8),
        Err(error) => {
            balas_server::log::warning(&error.to_string());
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn not_yet(role: &str) -> ExitCode {
    eprintln!("balas: this build cannot run as '{role}'.");
    ExitCode::FAILURE
}
