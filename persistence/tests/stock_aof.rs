//! AOF folders to and from a stock server.

mod support;

use balas_persistence::aof::*;
use balas_persistence::rdb::*;
use balas_persistence::storage::{Disk, Storage, StorageFile, write_atomically};
use keyspace::{Entry, NewValue};
use std::fs;
use std::io::{self, Read, Write};
use support::stock::{Stock, temp_folder};

const AOF_ON: &[&str] = &["--appendonly", "yes", "--aof-timestamp-enabled", "yes"];

fn set(key: &str, value: &str) -> Vec<u8> {
    format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).into_bytes()
}

fn write_base(mut file: &mut dyn Write, entries: &[(&str, &str)]) -> io::Result<()> {
    let encoder = Encoder::new(EncodeOptions { version: RdbVersion::V10, ..EncodeOptions::default() });
    let mut writer = Writer::new(&mut file, RdbVersion::V10, true)?;
    let info = SavedBy { ctime_s: 1_700_000_000, used_memory_bytes: 0, replication: None, is_aof_base: true };
    writer.saved_by(&info)?;
    writer.select_db(0)?;
    let mut encoded = Vec::new();
    for (key, value) in entries {
        encoder.entry(&mut encoded, &Entry::new(key.as_bytes(), NewValue::Str(value.as_bytes()), None));
    }
    writer.entries(&encoded)?;
    writer.finish().map(drop)
}

#[test]
fn stock_goes_on_with_our_aof() {
    let folder = temp_folder("our-aof");
    let disk = Disk::new(&folder);
    let mut aof = AofWriter::open(disk, AofNames::default(), Manifest::default(), Some(1000), |file| {
        write_base(file, &[("from-base", "1")])
    })
    .unwrap();
    aof.write(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n").unwrap();
    aof.write(&set("from-incr", "2")).unwrap();
    aof.rotate(Some(1050)).unwrap();
    aof.write(b"#TS:1700000000\r\n").unwrap();
    aof.write(&set("from-second", "3")).unwrap();
    aof.close().unwrap();
    let Some(mut stock) = Stock::start_in(folder, AOF_ON) else { return };
    for (key, value) in [("from-base", "1"), ("from-incr", "2"), ("from-second", "3")] {
        assert_eq!(stock.command(&["GET", key]).into_bulk().as_deref(), Some(value.as_bytes()), "{key}");
    }
    // And we go on with what it makes of it.
    stock.command(&["SET", "from-stock", "4"]);
    let names = AofNames::default();
    let found = plan(&Disk::new(stock.folder()), &names).unwrap();
    assert_eq!(found.files.len(), 3);
    assert_eq!(load_all(&Disk::new(stock.folder()), &found).last().unwrap(), "SET from-stock 4");
}

#[test]
fn we_go_on_with_the_aof_of_stock() {
    let Some(mut stock) = Stock::start("stock-aof", AOF_ON) else { return };
    stock.command(&["SET", "a", "1"]);
    stock.command(&["BGREWRITEAOF"]);
    while rewrites_in_progress(&mut stock) {
        std::thread::yield_now();
    }
    stock.command(&["MULTI"]);
    stock.command(&["SET", "b", "2"]);
    stock.command(&["INCR", "b"]);
    stock.command(&["EXEC"]);
    let disk = Disk::new(stock.folder());
    let found = plan(&disk, &AofNames::default()).unwrap();
    assert!(found.files[0].is_base && found.files.last().unwrap().is_last);
    let loaded = load_all(&disk, &found);
    assert_eq!(loaded[0], "base a");
    assert_eq!(loaded[loaded.len() - 4..], ["MULTI", "SET b 2", "INCR b", "EXEC"]);
    let text = fs::read_to_string(disk.path("appendonlydir/appendonly.aof.manifest")).unwrap();
    assert_eq!(found.manifest.format(), text);
}

fn rewrites_in_progress(stock: &mut Stock) -> bool {
    let info = stock.command(&["INFO", "persistence"]).into_bulk().unwrap();
    let info = String::from_utf8(info).unwrap();
    !info.contains("aof_rewrite_in_progress:0") || !info.contains("aof_rewrite_scheduled:0")
}

/// Keys of the base, and commands of the increments.
fn load_all(disk: &Disk, plan: &Plan) -> Vec<String> {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut lines = Vec::new();
    for file in &plan.files {
        let mut input = disk.read(&AofNames::default().path(&file.name)).unwrap();
        if file.is_base {
            let mut keys = Keys(Vec::new());
            let mut reader = Reader::new(input, ReadOptions::default());
            let report = load(&mut reader, &mut keys).unwrap();
            assert_eq!((report.keys, report.checksum), (keys.0.len() as u64, Checksum::Ok));
            lines.extend(keys.0.iter().map(|key| format!("base {}", text(key))));
            let (ahead, mut rest) = reader.into_parts();
            assert!(ahead.is_empty() && rest.read(&mut [0]).unwrap() == 0);
            continue;
        }
        let mut reader = AofReader::new(&mut input, 0);
        while let Some(record) = reader.next().unwrap() {
            lines.push(match record {
                Record::Command(command) => command.iter().map(text).collect::<Vec<_>>().join(" "),
                Record::Timestamp(at_s) => format!("at {at_s}"),
                Record::Annotation(line) => text(line),
            });
        }
        assert_eq!(reader.valid_up_to(), file.size_bytes);
    }
    lines
}

struct Keys(Vec<Vec<u8>>);

impl Sink for Keys {
    type Error = std::convert::Infallible;

    fn entry(&mut self, entry: LoadedEntry) -> Result<(), Self::Error> {
        self.0.push(entry.key);
        Ok(())
    }

    fn select_db(&mut self, db: u64) -> Result<(), Self::Error> {
        assert_eq!(db, 0);
        Ok(())
    }
}

#[test]
fn a_preamble_is_followed_by_commands() {
    let mut file = Vec::new();
    write_base(&mut file, &[("k", "v")]).unwrap();
    let preamble = file.len() as u64;
    file.extend_from_slice(&set("x", "y"));
    let mut reader = Reader::new(&file[..], ReadOptions::default());
    load(&mut reader, &mut Keys(Vec::new())).unwrap();
    let offset = reader.offset();
    assert_eq!(offset, preamble);
    let (ahead, rest) = reader.into_parts();
    let mut reader = AofReader::new(ahead.chain(rest), offset);
    assert!(matches!(reader.next(), Ok(Some(Record::Command(command))) if command.get(1) == Some(b"x")));
    assert!(matches!(reader.next(), Ok(None)));
    assert_eq!(reader.valid_up_to(), file.len() as u64);
}

#[test]
fn a_file_without_checksum_says_so() {
    let writer = Writer::new(Vec::new(), RdbVersion::V11, false).unwrap();
    let file = writer.finish().unwrap();
    assert_eq!(file, b"REDIS0011\xFF\0\0\0\0\0\0\0\0");
    let report = load(&mut Reader::new(&file[..], ReadOptions::default()), &mut Keys(Vec::new())).unwrap();
    assert_eq!((report.checksum, report.bytes, report.version), (Checksum::Disabled, 18, 11));
}

#[test]
fn a_file_is_replaced_as_a_whole_or_not_at_all() {
    let folder = temp_folder("atomic");
    let (name, temporary) = ("dump.rdb", "temp-1.rdb");
    let write = |bytes: &'static [u8]| move |file: &mut dyn Write| file.write_all(bytes);
    write_atomically(&folder, name, temporary, write(b"one")).unwrap();
    write_atomically(&folder, name, temporary, write(b"second")).unwrap();
    let failing = |file: &mut dyn Write| {
        file.write_all(b"third")?;
        Err(io::Error::other("no space"))
    };
    let error = write_atomically(&folder, name, temporary, failing).unwrap_err();
    assert_eq!(error.to_string(), "no space");
    assert_eq!(fs::read(folder.join(name)).unwrap(), b"second");
    assert!(!folder.join(temporary).exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_could_not_be_written_is_taken_back() {
    /// A file that takes so many bytes and no more.
    struct Full(balas_persistence::storage::MemoryFile, usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= taken;
            self.0.write(&bytes[..taken])
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl StorageFile for Full {
        fn sync(&mut self) -> io::Result<()> {
            self.0.sync()
        }
        fn truncate(&mut self, size: u64) -> io::Result<()> {
            self.0.truncate(size)
        }
    }
    struct Small(balas_persistence::storage::Memory);
    impl Storage for Small {
        type File = Full;
        fn create(&self, name: &str) -> io::Result<Full> {
            self.0.create(name).map(|file| Full(file, 100))
        }
        fn append(&self, name: &str) -> io::Result<Full> {
            self.0.append(name).map(|file| Full(file, 100))
        }
        fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
            self.0.read(name)
        }
        fn size(&self, name: &str) -> io::Result<Option<u64>> {
            self.0.size(name)
        }
        fn truncate(&self, name: &str, size: u64) -> io::Result<()> {
            self.0.truncate(name, size)
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.0.remove(name)
        }
        fn list(&self, folder: &str) -> io::Result<Vec<String>> {
            self.0.list(folder)
        }
        fn create_folder(&self, folder: &str) -> io::Result<()> {
            self.0.create_folder(folder)
        }
        fn sync_folder(&self, folder: &str) -> io::Result<()> {
            self.0.sync_folder(folder)
        }
    }
    let memory = balas_persistence::storage::Memory::new();
    let mut aof =
        AofWriter::open(Small(memory.clone()), AofNames::default(), Manifest::default(), None, |_| Ok(()))
            .unwrap();
    let (command, path) = (set("key", "value"), "appendonlydir/appendonly.aof.1.incr.aof");
    while aof.write(&command).is_ok() {}
    assert!(!aof.is_poisoned());
    let whole = memory.contents(path).unwrap();
    assert!(whole.len() == 100 / command.len() * command.len() && whole.len() as u64 == aof.size_bytes());
}
