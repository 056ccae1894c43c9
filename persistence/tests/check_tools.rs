//! The check tools beside those of stock, on the same files.

mod support;

use balas_persistence::check::{AofMode, check_aof, check_aof_command, check_rdb};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::stock::temp_folder;

/// Output and exit code of a stock tool; `None` where there is none.
fn stock(tool: &str, arguments: &[&str], answer: &str) -> Option<(String, i32)> {
    use std::io::Write;
    let spawned = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut process) = spawned else {
        eprintln!("skipped: no {tool}");
        return None;
    };
    // It may end without asking.
    let _ = process.stdin.take().unwrap().write_all(answer.as_bytes());
    let output = process.wait_with_output().unwrap();
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap()))
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rdb"));
    files.sort();
    assert!(files.len() >= 7);
    files
}

/// Our report with the parts that differ on purpose made alike: stock names the line of its source and logs
/// its end.
fn without_source_lines(text: &str) -> String {
    let internal = |line: &str| match (line.find("] Internal error"), line.find("-> ")) {
        (Some(start), Some(what)) => format!("{} {}", &line[..start], &line[what..]),
        _ => line.to_owned(),
    };
    let lines = text.lines().filter(|line| !line.contains("# Terminating server"));
    // 7.0 knows the type, but has no name for it.
    lines.map(|line| internal(line).replace("stream-v2", "unknown") + "\n").collect()
}

#[test]
fn rdb_files_are_judged_as_stock_judges_them() {
    let folder = temp_folder("check-rdb");
    for path in fixtures() {
        let whole = fs::read(&path).unwrap();
        let mut variants = vec![whole.clone()];
        // Cut at many places, and with a byte changed.
        let step = 31.max(whole.len() / 40);
        variants.extend((0..whole.len()).step_by(step).map(|len| whole[..len].to_vec()));
        let cut = variants.len();
        for at in (9..whole.len()).step_by(2 * step) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            variants.push(damaged);
        }
        for (index, bytes) in variants.iter().enumerate() {
            let file = folder.join("x.rdb");
            fs::write(&file, bytes).unwrap();
            let mut ours = Vec::new();
            let code = check_rdb(&file, 1_900_000_000_000, &mut ours).unwrap();
            let ours = without_source_lines(&String::from_utf8(ours).unwrap());
            let Some((theirs, their_code)) = stock("redis-check-rdb", &[file.to_str().unwrap()], "") else {
                return;
            };
            let story = format!("{} variant {index}", path.display());
            // Of a stream that is cut off stock says which part of it.
            if index < cut && !theirs.contains("-> Stream") {
                assert_eq!((&ours, code), (&without_source_lines(&theirs), their_code), "{story}");
            } else {
                // Damage inside a value is met elsewhere, and some of it stock takes for a score.
                assert!(code >= their_code, "{story}\n{ours}\n{theirs}");
            }
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

const SET: &str = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
const EXEC: &str = "*1\r\n$4\r\nEXEC\r\n";

fn aof_samples() -> Vec<String> {
    let whole = format!("#TS:1000\r\n{SET}{MULTI}{SET}{EXEC}#TS:2000\r\n{SET}");
    let mut samples: Vec<String> = (0..=whole.len()).step_by(5).map(|len| whole[..len].to_owned()).collect();
    for odd in [
        "garbage\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*x\r\n",
        "*1\n",
        "*1\r\n:5\r\n",
        "*1\r\n$1\r\nkk\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$99999999999999999999\r\n",
        EXEC,
        MULTI,
        "\r\n",
        "# a note\r\n",
        "#no end",
    ] {
        samples.push(odd.to_owned());
        samples.push(format!("{SET}{odd}{SET}"));
        samples.push(format!("{SET}{MULTI}{odd}"));
    }
    samples
}

/// Where a line ends, stock prints whatever byte its buffer has behind it.
fn without_garbage(text: &str) -> String {
    const END: &str = "Expected \\r\\n, got: 00";
    let line = |line: &str| match line.find(END) {
        Some(at) => line[..at + END.len()].to_owned(),
        None => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn aof_files_are_judged_and_cut_as_stock_does() {
    let folder = temp_folder("check-aof");
    let file = folder.join("x.aof");
    let name = file.to_str().unwrap();
    let modes: [(&[&str], AofMode, &str); 5] = [
        (&[], AofMode::Check, ""),
        (&["--fix"], AofMode::Fix, "y\n"),
        (&["--fix"], AofMode::Fix, "n\n"),
        (&["--truncate-to-timestamp", "1500"], AofMode::TruncateToTimestamp(1500), ""),
        (&["--truncate-to-timestamp", "500"], AofMode::TruncateToTimestamp(500), ""),
    ];
    for sample in aof_samples() {
        for (flags, mode, answer) in modes {
            fs::write(&file, &sample).unwrap();
            let mut ours = Vec::new();
            let code = check_aof(name, mode, 0, &mut answer.as_bytes(), &mut ours).unwrap();
            let our_file = fs::read(&file).unwrap();
            fs::write(&file, &sample).unwrap();
            let arguments: Vec<_> = flags.iter().copied().chain([name]).collect();
            let Some((theirs, their_code)) = stock("redis-check-aof", &arguments, answer) else { return };
            let their_file = fs::read(&file).unwrap();
            let story = format!("{sample:?} {flags:?} {answer:?}");
            let ours = String::from_utf8(ours).unwrap();
            assert_eq!(without_garbage(&ours), without_garbage(&theirs), "{story}");
            assert_eq!((code, our_file), (their_code, their_file), "{story}");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_multi_part_aof_is_judged_as_stock_judges_it() {
    let folder = temp_folder("check-multi");
    let base =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/list-quicklist.rdb")).unwrap();
    let manifest = folder.join("a.manifest");
    let name = manifest.to_str().unwrap();
    let torn = &SET[..20];
    for (base, first, second) in [
        (&base[..], SET, SET),
        (SET.as_bytes(), "", SET),
        (&base[..], SET, torn),
        (&base[..], torn, SET),
        (&base[..100], SET, SET),
        (b"", "", ""),
    ] {
        for (flags, mode) in [(&[][..], AofMode::Check), (&["--fix"][..], AofMode::Fix)] {
            let write = || {
                fs::write(folder.join("b"), base).unwrap();
                fs::write(folder.join("i1"), first).unwrap();
                fs::write(folder.join("i2"), second).unwrap();
                fs::write(&manifest, "file b seq 1 type b\nfile i1 seq 1 type i\nfile i2 seq 2 type i\n")
                    .unwrap();
            };
            write();
            let mut ours = Vec::new();
            let code = check_aof(name, mode, 0, &mut &b"y\n"[..], &mut ours).unwrap();
            write();
            let arguments: Vec<_> = flags.iter().copied().chain([name]).collect();
            let Some((theirs, their_code)) = stock("redis-check-aof", &arguments, "y\n") else { return };
            // 7.0 names the base without its folder here, 7.2 with it.
            let path = format!("RDB file {}", folder.join("b").display());
            assert_eq!(String::from_utf8_lossy(&ours).replace(&path, "RDB file b"), theirs);
            assert_eq!(code, their_code);
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn wrong_usage_is_told() {
    let mut out = Vec::new();
    let code = check_aof_command("redis-check-aof", &[], 0, &mut &b""[..], &mut out).unwrap();
    let Some((theirs, their_code)) = stock("redis-check-aof", &[], "") else { return };
    assert_eq!((String::from_utf8(out).unwrap(), code), (theirs, their_code));
}
