//! An AOF that dies at every operation, with every kind of loss, and is started again.
//!
//! **What must hold:** after a restart the dataset is what some prefix of the writes makes, and the prefix has
//! every write that was acknowledged by a sync.

use balas_persistence::aof::*;
use balas_persistence::storage::{Loss, Memory, Storage, StorageFile};
use std::io::{self, Read, Write};

/// Writes between two steps of the script.
const BATCH: usize = 3;

/// The dataset is a list of numbers, written in this order. A base is all of them so far, as commands.
#[derive(Default)]
struct Server {
    written: usize,
    /// Writes that were synced.
    safe: usize,
}

fn command(number: usize) -> Vec<u8> {
    let text = number.to_string();
    format!("*2\r\n$3\r\nADD\r\n${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn base(numbers: usize) -> Vec<u8> {
    (0..numbers).flat_map(command).collect()
}

impl Server {
    fn write(&mut self, aof: &mut AofWriter<Memory>) -> io::Result<()> {
        for _ in 0..BATCH {
            aof.write(&command(self.written))?;
            self.written += 1;
        }
        Ok(())
    }

    fn write_and_sync(&mut self, aof: &mut AofWriter<Memory>) -> io::Result<()> {
        self.write(aof)?;
        aof.sync()?;
        self.safe = self.written;
        Ok(())
    }

    fn rewrite(&mut self, aof: &mut AofWriter<Memory>) -> io::Result<()> {
        aof.rotate(None)?;
        self.safe = self.written;
        let snapshot = base(self.written);
        self.write_and_sync(aof)?;
        let mut file = aof.create_base()?;
        for part in snapshot.chunks(40) {
            file.write_all(part)?;
        }
        file.sync()?;
        self.write(aof)?;
        aof.finish_rewrite(None)?;
        self.safe = self.written;
        Ok(())
    }

    /// Everything an AOF does, twice.
    fn live(&mut self, storage: &Memory) -> io::Result<()> {
        let mut aof = start(storage, self.written)?;
        for _ in 0..2 {
            self.write_and_sync(&mut aof)?;
            self.write(&mut aof)?;
            self.rewrite(&mut aof)?;
            self.write(&mut aof)?;
        }
        aof.close()?;
        self.safe = self.written;
        Ok(())
    }
}

/// Loads what is there, cuts a torn tail, and opens the AOF for more.
fn start(storage: &Memory, expected: usize) -> io::Result<AofWriter<Memory>> {
    let names = AofNames::default();
    let plan = plan(storage, &names).map_err(io::Error::other)?;
    let loaded = load(storage, &names, &plan, true)?;
    assert_eq!(loaded, expected, "what a start finds without a crash");
    AofWriter::open(storage.clone(), names, plan.manifest, None, |file| file.write_all(&base(loaded)))
}

/// Numbers in the dataset; they must be 0, 1, 2 … without a gap.
fn load(storage: &Memory, names: &AofNames, plan: &Plan, cut: bool) -> io::Result<usize> {
    let mut next = 0;
    for file in &plan.files {
        let path = names.path(&file.name);
        let mut reader = AofReader::new(storage.read(&path)?, 0);
        loop {
            match reader.next() {
                Ok(Some(Record::Command(command))) => {
                    let number: usize =
                        std::str::from_utf8(command.get(1).unwrap()).unwrap().parse().unwrap();
                    assert_eq!(number, next, "in {path}: a write was lost or came twice\n{plan:?}");
                    next += 1;
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(AofError::Truncated { valid_up_to }) => {
                    assert!(file.is_last, "{path} is torn, and not the last\n{plan:?}");
                    if cut {
                        storage.truncate(&path, valid_up_to)?;
                    }
                    break;
                }
                Err(error) => panic!("{path}: {error}\n{plan:?}"),
            }
        }
    }
    Ok(next)
}

fn losses(seed: u64) -> impl Iterator<Item = Loss> {
    [Loss::Nothing, Loss::Everything].into_iter().chain((0..6).map(move |n| Loss::Some(seed * 100 + n)))
}

fn check(storage: &Memory, server: &Server, story: &str) -> usize {
    let names = AofNames::default();
    let plan = plan(storage, &names).unwrap_or_else(|error| panic!("{story}: {error}"));
    let loaded = load(storage, &names, &plan, true).unwrap();
    // The write that failed may have reached the disk all the same.
    assert!(
        (server.safe..=server.written + 1).contains(&loaded),
        "{story}: {loaded} loaded, {} safe, {} written",
        server.safe,
        server.written
    );
    loaded
}

#[test]
fn nothing_acknowledged_is_lost_whenever_it_dies() {
    let whole = Memory::new();
    Server::default().live(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 80, "{operations}");
    for at in 0..operations {
        let storage = Memory::new();
        storage.crash_at(at);
        let mut server = Server::default();
        server.live(&storage).unwrap_err();
        for loss in losses(at) {
            let story = format!("crash at operation {at}, {loss:?}");
            let rebooted = storage.after_crash(loss);
            let loaded = check(&rebooted, &server, &story);
            // And it goes on from there, through all of it again.
            let mut server = Server { written: loaded, safe: loaded };
            server.live(&rebooted).unwrap_or_else(|error| panic!("{story}: {error}"));
            assert_eq!(check(&rebooted.after_crash(Loss::Everything), &server, &story), server.written);
        }
    }
}

#[test]
fn a_second_crash_during_recovery_loses_nothing_either() {
    for first in (20..90).step_by(7) {
        let storage = Memory::new();
        storage.crash_at(first);
        let mut server = Server::default();
        server.live(&storage).unwrap_err();
        for second in 0..30 {
            let rebooted = storage.after_crash(Loss::Some(first));
            let loaded = check(&rebooted.after_crash(Loss::Nothing), &server, "first crash");
            rebooted.crash_at(second);
            let mut again = Server { written: loaded, safe: server.safe };
            if again.live(&rebooted).is_err() {
                for loss in losses(second) {
                    let story = format!("crashes at operations {first} and {second}, {loss:?}");
                    check(&rebooted.after_crash(loss), &again, &story);
                }
            }
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written() {
    let storage = Memory::new();
    let mut server = Server::default();
    let mut aof = start(&storage, 0).unwrap();
    server.write_and_sync(&mut aof).unwrap();
    server.write(&mut aof).unwrap();
    storage.fail_sync_at(storage.operations());
    aof.sync().unwrap_err();
    assert!(aof.is_poisoned());
    let size = aof.size_bytes();
    // The next sync would succeed, and mean nothing.
    for result in [aof.sync(), aof.write(b"x"), aof.rotate(None), aof.finish_rewrite(None).map(drop)] {
        assert!(result.unwrap_err().to_string().contains("unknown state"));
    }
    assert_eq!(aof.size_bytes(), size);
}

#[test]
fn an_aof_begun_while_running_counts_from_its_first_base() {
    let run = |crash_at: Option<u64>| {
        let storage = Memory::new();
        // An AOF of an earlier life, which the new one replaces.
        let mut old = Server::default();
        old.live(&storage).unwrap();
        let before = old.written;
        let begun = storage.operations();
        if let Some(at) = crash_at {
            storage.crash_at(begun + at);
        }
        let mut server = Server { written: before, safe: before };
        let mut live = || -> io::Result<()> {
            let names = AofNames::default();
            let plan = plan(&storage, &names).map_err(io::Error::other)?;
            let mut aof = AofWriter::open_waiting(storage.clone(), names, plan.manifest)?;
            server.write(&mut aof)?;
            aof.rotate(None)?;
            let snapshot = base(server.written);
            server.write(&mut aof)?;
            let mut file = aof.create_base()?;
            file.write_all(&snapshot)?;
            file.sync()?;
            aof.finish_rewrite(None)?;
            server.safe = server.written;
            server.write_and_sync(&mut aof)
        };
        let result = live();
        (storage, server, result, begun)
    };
    let (storage, server, result, begun) = run(None);
    result.unwrap();
    let operations = storage.operations() - begun;
    assert_eq!(check(&storage, &server, "no crash"), server.written);
    for at in 0..operations {
        let (storage, server, result, _) = run(Some(at));
        result.unwrap_err();
        for loss in losses(at) {
            check(&storage.after_crash(loss), &server, &format!("crash at operation {at}, {loss:?}"));
        }
    }
}

#[test]
fn an_old_file_moves_in_whenever_it_dies() {
    let prepare = || {
        let storage = Memory::new();
        let mut file = storage.create("appendonly.aof").unwrap();
        file.write_all(&base(5)).unwrap();
        file.sync().unwrap();
        storage.sync_folder("").unwrap();
        let done = storage.operations();
        (storage, done)
    };
    let names = AofNames::default();
    let (whole, begun) = prepare();
    let found = plan(&whole, &names).unwrap();
    let operations = whole.operations() - begun;
    assert!(found.was_upgraded);
    assert_eq!(load(&whole, &names, &found, false).unwrap(), 5);
    assert!(!plan(&whole, &names).unwrap().was_upgraded);
    for at in 0..operations {
        let (storage, begun) = prepare();
        storage.crash_at(begun + at);
        let _ = plan(&storage, &names);
        for loss in losses(at) {
            let rebooted = storage.after_crash(loss);
            let found = plan(&rebooted, &names).unwrap_or_else(|error| panic!("{at} {loss:?}: {error}"));
            assert_eq!(load(&rebooted, &names, &found, false).unwrap(), 5, "{at} {loss:?}");
        }
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let storage = Memory::new();
    start(&storage, 0).unwrap();
    storage.remove("appendonlydir/appendonly.aof.1.base.rdb").unwrap();
    let error = plan(&storage, &AofNames::default()).unwrap_err();
    assert!(matches!(&error, PlanError::Missing { name } if name == "appendonly.aof.1.base.rdb"), "{error}");
}

#[test]
fn the_real_file_system_does_what_the_one_in_memory_does() {
    use balas_persistence::storage::Disk;
    let folder = std::env::temp_dir().join(format!("balas-aof-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (disk, names) = (Disk::new(&folder), AofNames::default());
    let mut aof = AofWriter::open(disk.clone(), names.clone(), Manifest::default(), Some(10), |file| {
        file.write_all(&base(1))
    })
    .unwrap();
    aof.write(&command(1)).unwrap();
    aof.rotate(Some(47)).unwrap();
    let mut file = aof.create_base().unwrap();
    file.write_all(&base(2)).unwrap();
    file.sync().unwrap();
    aof.write(&command(2)).unwrap();
    let removed = aof.finish_rewrite(None).unwrap();
    assert_eq!(removed, ["appendonly.aof.1.incr.aof", "appendonly.aof.1.base.rdb"]);
    aof.close().unwrap();
    let text = std::fs::read_to_string(folder.join("appendonlydir/appendonly.aof.manifest")).unwrap();
    assert_eq!(
        text,
        "file appendonly.aof.2.base.rdb seq 2 type b\n\
         file appendonly.aof.2.incr.aof seq 2 type i startoffset 47\n"
    );
    let mut left = disk.list("appendonlydir").unwrap();
    left.sort();
    assert_eq!(left, ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]);
    let mut bytes = Vec::new();
    disk.read("appendonlydir/appendonly.aof.2.incr.aof").unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, command(2));
    std::fs::remove_dir_all(folder).unwrap();
}
