//! Users in files: `user` lines of redis.conf, and the file of `aclfile`.

use super::{Acl, RuleError, Rules, User, has_spaces, merge_selectors};
use crate::config::Settings;
use crate::log;
use std::path::Path;
use std::sync::Arc;

impl Acl {
    /// Reads what the configuration says of users: `lines` of redis.conf, each without the word `user`, or a file. The
    /// error says why the server cannot start.
    pub fn load_at_start(&self, settings: &Settings, lines: &[Vec<String>]) -> Result<(), String> {
        if !settings.aclfile.is_empty() && !lines.is_empty() {
            return Err("Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
                        invalid. This setup is very likely to lead to configuration errors and security holes, please \
                        define either an ACL file or declare users directly in your redis.conf, but not both."
                .into());
        }
        for line in lines {
            self.load_line(settings, line)?;
        }
        if !settings.aclfile.is_empty() {
            self.load_file(settings)
                .map_err(|errors| format!("Aborting Redis startup because of ACL errors: {errors}"))?;
        }
        Ok(())
    }

    fn load_line(&self, settings: &Settings, line: &[String]) -> Result<(), String> {
        let Some((name, rules)) = line.split_first() else { return Ok(()) };
        if has_spaces(name.as_bytes()) {
            return Err("Spaces not allowed in ACL usernames".into());
        }
        if let Some((rule, error)) = first_bad(rules, settings.acl_all_channels, |_| true) {
            log::warning(&format!(
                "Error loading ACL rule '{rule}' for the user named '{name}': {}",
                error.text()
            ));
            return Err("Critical error while loading ACLs. Exiting.".into());
        }
        let words: Vec<&[u8]> =
            std::iter::once(b"reset".as_slice()).chain(rules.iter().map(String::as_bytes)).collect();
        let (user, _) = self
            .set(name.as_bytes(), &words, settings.acl_all_channels)
            .map_err(|error| format!("Error in user declaration: {}", String::from_utf8_lossy(&error)))?;
        if !user.rules().is_on {
            log::notice(&format!(
                "The user '{name}' is disabled (there is no 'on' modifier in the user description). Make sure this is \
                 not a configuration error."
            ));
        }
        Ok(())
    }

    /// Puts the users of the file in place of all there are, or changes nothing and says what is wrong with it. Returns
    /// the users that are no more.
    pub fn load_file(&self, settings: &Settings) -> Result<Vec<Arc<User>>, String> {
        let name = &settings.aclfile;
        let text = std::fs::read(name).map_err(|error| {
            format!("Error loading ACLs, opening file '{name}': {}", crate::config::strerror(&error))
        })?;
        let mut users: Vec<(Box<[u8]>, Rules)> = Vec::new();
        let mut errors = String::new();
        for (at, line) in text.split(|&b| b == b'\n').enumerate() {
            match read_line(line.trim_ascii(), settings.acl_all_channels) {
                Ok(None) => {}
                Ok(Some((user, _))) if users.iter().any(|(known, _)| *known == user) => {
                    let user = String::from_utf8_lossy(&user).into_owned();
                    errors += &format!("WARNING: Duplicate user '{user}' found on line {}. ", at + 1);
                }
                Ok(Some(user)) => users.push(user),
                Err(error) => errors += &format!("{name}:{}{error}. ", at + 1),
            }
        }
        if errors.is_empty() {
            return Ok(self.replace_all(users));
        }
        errors += "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";
        Err(errors)
    }

    /// Writes all users to the file.
    pub fn save_file(&self, path: &Path) -> std::io::Result<()> {
        let mut text = self.lines().join(&b'\n');
        text.push(b'\n');
        crate::config::replace_file(path, &text)
    }
}

/// Looks at the rules of a `user` line as it is read. Commands that do not exist are found out later: a module may bring
/// them.
pub fn check_declaration(rules: &[String]) -> Result<(), String> {
    let words: Vec<&[u8]> = rules.iter().map(String::as_bytes).collect();
    if let Err(start) = merge_selectors(&words) {
        let start = String::from_utf8_lossy(start);
        return Err(format!(
            "Error in user declaration '{start}': Unmatched parenthesis in selector definition."
        ));
    }
    match first_bad(rules, false, |error| error != RuleError::UnknownCommand) {
        Some((rule, error)) => Err(format!("Error in user declaration '{rule}': {}", error.text())),
        None => Ok(()),
    }
}

/// The first rule that makes no sense in a way that counts.
fn first_bad(
    rules: &[String],
    all_channels: bool,
    counts: impl Fn(RuleError) -> bool,
) -> Option<(String, RuleError)> {
    let words: Vec<&[u8]> = rules.iter().map(String::as_bytes).collect();
    let mut user = Rules::new(all_channels);
    merge_selectors(&words).ok()?.iter().find_map(|rule| {
        let error = user.apply(rule, all_channels).err().filter(|error| counts(*error))?;
        Some((String::from_utf8_lossy(rule).into_owned(), error))
    })
}

/// A user's name and what it may do.
type Line = (Box<[u8]>, Rules);

/// A user of the file; the error is what follows the number of the line.
fn read_line(line: &[u8], all_channels: bool) -> Result<Option<Line>, String> {
    if line.is_empty() {
        return Ok(None);
    }
    let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let [b"user", name, rest @ ..] = &words[..] else {
        return Err(" should start with user keyword followed by the username".into());
    };
    if has_spaces(name) {
        let name = String::from_utf8_lossy(name);
        return Err(format!(": username '{name}' contains invalid characters"));
    }
    let merged =
        merge_selectors(rest).map_err(|_| ": Unmatched parenthesis in selector definition".to_owned())?;
    let mut rules = Rules::new(all_channels);
    for rule in &merged {
        let rule = rule.trim_ascii();
        rules.apply(rule, all_channels).map_err(|error| match error {
            // The name of a command gives no secret away; other rules may.
            RuleError::UnknownCommand => {
                let rule = String::from_utf8_lossy(rule);
                format!(": Error in applying operation '{rule}': {}", error.text())
            }
            _ => format!(": {}", error.text()),
        })?;
    }
    Ok(Some(((*name).into(), rules)))
}
