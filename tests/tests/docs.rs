//! The pages in `docs/` name what is there: files, headings and directives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is around this crate")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a folder of the repository.
fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn pages() -> Vec<PathBuf> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let mut pages: Vec<_> = names(&root().join("docs")).into_iter().filter(is_page).collect();
    pages.push(root().join("README.md"));
    pages
}

/// The lines of a page outside blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_block = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_block ^= is_fence;
        !in_block && !is_fence && !line.starts_with("    ")
    })
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// A path of this repository, rather than of a server's folder.
fn is_path(word: &str) -> bool {
    const FOLDERS: [&str; 10] = [
        "protocol",
        "keyspace",
        "persistence",
        "cluster-bus",
        "server",
        "admin",
        "bench",
        "tests",
        "configs",
        "docs",
    ];
    let named_here = word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder));
    !word.contains([' ', '*']) && (named_here || word.contains('/') && word.ends_with(".rs"))
}

/// A page about a crate may leave out the crate's name.
fn exists(word: &str) -> bool {
    ["", "keyspace", "keyspace/src", "persistence", "persistence/src", "cluster-bus"]
        .iter()
        .any(|base| root().join(base).join(word).exists())
}

#[test]
fn paths_that_are_named_exist() {
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        for word in quoted(&text).filter(|word| is_path(word)) {
            assert!(exists(word), "{} names {word}", page.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} paths were found");
}

/// The name by which a link finds a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        let ends = prose(&text).flat_map(|line| line.split("](").skip(1));
        let links = ends.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{} links to {link}", page.display());
            if !heading.is_empty() {
                let target = read(&target);
                let mut headings = prose(&target).filter(|line| line.starts_with('#'));
                let found = headings.any(|line| anchor(line.trim_start_matches('#')) == heading);
                assert!(found, "{} links to {link}, and there is no such heading", page.display());
            }
        }
    }
}

#[test]
fn every_directive_is_in_the_page_about_configuration() {
    let table = read(&root().join("server/src/config/params.rs"));
    let rows = table.lines().filter(|line| line.trim_start().starts_with("Param::"));
    let directives: Vec<&str> = rows.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(directives.len() > 150, "only {} directives were found", directives.len());
    let page = read(&root().join("docs/configuration.md"));
    let described: BTreeSet<&str> = quoted(&page).collect();
    for directive in directives {
        assert!(described.contains(directive), "docs/configuration.md says nothing about {directive}");
    }
}
