//! The commands by name, made once from the families' rows.

use super::spec::{CommandSpec, Flags};
use crate::commands::FAMILIES;
use foldhash::HashMap;
use std::sync::OnceLock;

/// A command or subcommand with what is derived from its row.
pub struct Command {
    pub spec: &'static CommandSpec,
    /// What clients call it: the row's name, or another by `rename-command`.
    pub name: Box<str>,
    /// `config|get` for subcommands, whatever they are called.
    pub full_name: String,
    /// Index into per-command statistics.
    pub id: usize,
    pub subcommands: Vec<Command>,
    /// The one key is argument 1 and there is no other: by far the most commands.
    pub one_key_first: bool,
    pub is_subcommand: bool,
    /// The name as [`fold`] makes it.
    folded: Option<u64>,
}

/// A name of up to eight letters as a number, the same whatever their case; `None` for any other that a command has.
#[inline]
fn fold(name: &[u8]) -> Option<u64> {
    const CASE: u8 = 0x20;
    let folded = |folded, byte: &u8| folded << 8 | u64::from(byte | CASE);
    (name.len() <= 8).then(|| name.iter().fold(0, folded))
}

impl Command {
    fn new(spec: &'static CommandSpec, container: Option<&str>, next_id: &mut usize) -> Command {
        use super::spec::{Begin, Find, KeyFlags};
        let full_name =
            container.map_or(spec.name.to_owned(), |container| format!("{container}|{}", spec.name));
        let id = *next_id;
        *next_id += 1;
        let subcommands =
            spec.subcommands.iter().map(|sub| Command::new(sub, Some(&full_name), next_id)).collect();
        let one_key_first = matches!(spec.keys, [key] if key.begin == Begin::Index(1)
            && matches!(key.find, Find::Range { last: 0, .. }) && !key.flags.contains(KeyFlags::NOT_KEY));
        let mut command = Command {
            spec,
            name: Box::default(),
            full_name,
            id,
            subcommands,
            one_key_first,
            is_subcommand: container.is_some(),
            folded: None,
        };
        command.rename(spec.name);
        command
    }

    fn rename(&mut self, name: &str) {
        let has_letters_only = name.bytes().all(|byte| byte.is_ascii_alphabetic());
        self.folded = if has_letters_only { fold(name.as_bytes()) } else { None };
        self.name = name.into();
    }

    /// Whether this command, and no subcommand, is what clients call by this name.
    #[inline]
    pub fn is_called(&self, name: &[u8]) -> bool {
        if self.is_subcommand {
            return false;
        }
        match self.folded {
            Some(folded) => fold(name) == Some(folded),
            None => self.name.as_bytes().eq_ignore_ascii_case(name),
        }
    }

    #[inline]
    pub fn has(&self, flags: Flags) -> bool {
        self.spec.flags.contains(flags)
    }

    pub fn subcommand(&self, name: &[u8]) -> Option<&Command> {
        self.subcommands.iter().find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

pub struct CommandTable {
    by_name: HashMap<Box<[u8]>, usize>,
    /// Those whose names [`fold`] to a number: most, and looked up in a fraction of the time.
    by_folded: HashMap<u64, usize>,
    commands: Vec<Command>,
    count: usize,
}

/// Longest name looked up without an allocation; only `rename-command` makes longer ones.
const SHORT_NAME_MAX: usize = 32;

impl CommandTable {
    fn new(renames: &[Rename]) -> CommandTable {
        let mut count = 0;
        let mut commands: Vec<Command> = FAMILIES
            .iter()
            .flat_map(|family| family.iter())
            .map(|spec| Command::new(spec, None, &mut count))
            .collect();
        for (old, new) in renames {
            if let Some(command) = commands.iter_mut().find(|command| command.spec.name == old) {
                command.rename(new);
            }
        }
        let named = commands.iter().enumerate().filter(|(_, command)| !command.name.is_empty());
        let by_folded = named.clone().filter_map(|(i, command)| Some((command.folded?, i))).collect();
        let by_name = named.map(|(i, command)| (Box::from(command.name.as_bytes()), i)).collect();
        CommandTable { by_name, by_folded, commands, count }
    }

    /// The command clients call by this name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Command> {
        if let Some(folded) = fold(name)
            && let Some(&i) = self.by_folded.get(&folded)
        {
            return Some(&self.commands[i]);
        }
        self.find_by_name(name)
    }

    fn find_by_name(&self, name: &[u8]) -> Option<&Command> {
        let mut lower = [0; SHORT_NAME_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else {
            return self.by_name.get(&*name.to_ascii_lowercase()).map(|&i| &self.commands[i]);
        };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(&*lower).map(|&i| &self.commands[i])
    }

    /// Every command, taken away or not, without subcommands: rights go by these.
    pub fn originals(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter()
    }

    /// A command by the name of its row, whatever clients call it.
    pub fn original(&self, name: &[u8]) -> Option<&Command> {
        self.originals().find(|command| command.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// By full name, `config|get`.
    pub fn find_full(&self, name: &[u8]) -> Option<&Command> {
        match name.iter().position(|&b| b == b'|') {
            None => self.find(name),
            Some(bar) => self.find(&name[..bar])?.subcommand(&name[bar + 1..]),
        }
    }

    /// Commands in the order of their families, without subcommands, and without those that were taken away.
    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().filter(|command| !command.name.is_empty())
    }

    /// Commands and subcommands together.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Every command and subcommand.
    pub fn each(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands.iter()))
    }
}

/// `rename-command`: old and new name, in lower case; an empty new one takes the command away.
type Rename = (String, String);

static RENAMES: OnceLock<Vec<Rename>> = OnceLock::new();

/// The one table of the process.
pub fn table() -> &'static CommandTable {
    static TABLE: OnceLock<CommandTable> = OnceLock::new();
    TABLE.get_or_init(|| CommandTable::new(RENAMES.get().map_or(&[][..], Vec::as_slice)))
}

/// Gives commands other names, which have been checked. To be called once, before anything asks for the table.
pub fn rename(renames: &[Rename]) -> Result<(), String> {
    RENAMES.set(renames.to_vec()).map_err(|_| "rename-command comes too late".to_owned())
}

/// Whether commands can be given these names, one after the other. All names are in lower case.
pub fn check_renames(renames: &[Rename]) -> Result<(), String> {
    let is_command = |name: &str| FAMILIES.iter().any(|rows| rows.iter().any(|row| row.name == name));
    for (i, (old, new)) in renames.iter().enumerate() {
        if !is_command(old) || renames[..i].iter().any(|(other, _)| other == old) {
            return Err("No such command in rename-command".into());
        }
        let freed = renames[..i].iter().any(|(other, _)| other == new);
        let taken = is_command(new) && !freed || renames[..i].iter().any(|(_, other)| other == new);
        if !new.is_empty() && taken {
            return Err("Target command name already exists".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::spec::{Begin, Find};

    #[test]
    fn names_are_unique_and_short() {
        let mut names: Vec<&str> = table().each().map(|c| c.full_name.as_str()).collect();
        assert_eq!(names.len(), table().count());
        assert!(
            table()
                .iter()
                .all(|c| c.spec.name.len() <= SHORT_NAME_MAX && c.spec.name == c.spec.name.to_lowercase())
        );
        names.sort_unstable();
        names.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
    }

    #[test]
    fn a_renamed_command_has_only_its_new_name() {
        let long = "x".repeat(SHORT_NAME_MAX + 8);
        let table = CommandTable::new(&[("get".into(), long.clone()), ("set".into(), String::new())]);
        assert!(table.find(b"GET").is_none() && table.find(b"set").is_none());
        let get = table.find(long.to_uppercase().as_bytes()).unwrap();
        assert_eq!((get.full_name.as_str(), get.spec.name), ("get", "get"));
        assert!(table.iter().all(|command| command.spec.name != "set"));
    }

    #[test]
    fn a_command_writes_or_reads_but_not_both() {
        for command in table().each() {
            assert!(!command.has(Flags::WRITE | Flags::READONLY), "{}", command.full_name);
        }
    }

    #[test]
    fn key_specs_fit_the_arity() {
        for command in table().each() {
            let least = command.spec.arity.unsigned_abs() as usize;
            for key in command.spec.keys {
                if let (Begin::Index(pos), Find::Range { last, .. }) = (key.begin, key.find) {
                    // All arguments from the first on: there may be none.
                    let all = pos <= least && last == -1;
                    let fits = pos < least && last.unsigned_abs() as usize <= least;
                    assert!(fits || all, "{}", command.full_name);
                }
            }
        }
    }
}
