//! One look at groups, a line for each.

use std::io::{IsTerminal, stdout};

use common::{Failure, sys};

use crate::find;
use crate::hierarchy::{Hierarchy, Layout};
use crate::list;
use crate::plan;
use crate::show::Shown;
use crate::table::{self, Cpu};

/// A group that is looked at.
pub struct Subject {
    /// Its path, or the process that it was asked for by.
    pub path: String,
    /// The same in short, for people.
    pub name: String,
    pub shown: Shown,
}

/// The groups that are named, or all that hold processes.
pub fn subjects(words: &[String]) -> Result<Vec<Subject>, Failure> {
    let layout = Layout::read()?;
    let trees = plan::trees(&layout)?;
    if !words.is_empty() {
        return words.iter().map(|word| subject(word, &layout, &trees)).collect();
    }
    let all = list::find(None)?;
    // One that goes while we look is not there.
    let there = all.iter().filter_map(|path| subject(path.to_str()?, &layout, &trees).ok());
    Ok(there.filter(|subject| !subject.shown.processes().is_empty()).collect())
}

fn subject(word: &str, layout: &Layout, trees: &[&Hierarchy]) -> Result<Subject, Failure> {
    let shown = find::find_in("look at", word, layout, trees)?;
    if find::is_pid(word) {
        return Ok(Subject { path: word.to_owned(), name: word.to_owned(), shown });
    }
    let dir = &shown.dirs()[0];
    let below = trees.iter().find_map(|tree| dir.strip_prefix(&tree.mount).ok());
    let name = below.unwrap_or(dir).display().to_string();
    Ok(Subject { path: dir.display().to_string(), name, shown })
}

/// What is found now: for people, for awk, or as JSON.
pub fn said(words: &[String], as_json: bool) -> Result<String, Failure> {
    let subjects = subjects(words)?;
    if as_json {
        return Ok(subjects.iter().map(Subject::json).collect());
    }
    if !stdout().is_terminal() {
        let line =
            |subject: &Subject| table::plain(&subject.path, &subject.shown.look(), Cpu::InAll);
        return Ok(subjects.iter().map(line).collect());
    }
    let row = |subject: &Subject| {
        (subject.name.clone(), Ok(table::cells(&subject.shown.look(), Cpu::InAll)))
    };
    let rows: Vec<table::Row> = subjects.iter().map(row).collect();
    let width = sys::window(stdout()).map_or(80, |(_, columns)| columns);
    Ok(table::lines(&rows, width).join("\n") + "\n")
}

impl Subject {
    fn json(&self) -> String {
        let mut object = self.shown.look().json(None);
        object["group"] = self.path.clone().into();
        format!("{object}\n")
    }
}
