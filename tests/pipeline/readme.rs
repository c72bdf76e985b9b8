//! The lines of the tools' READMEs that can be typed, and what they say that is printed.

use std::fs;
use std::path::Path;

use support::{Test, need_no_filter, need_program, need_root, project, run, scratch};

use crate::{alone, traces, with_tools};

/// What is typed, and what is printed then, in which `…` stands for anything.
struct Line {
    typed: String,
    printed: String,
}

pub fn fetch_rootfs() -> Test {
    holds("fetch-rootfs")
}

pub fn bindmount() -> Test {
    holds("bindmount")
}

pub fn nsenter_lite() -> Test {
    need_program("ip")?;
    need_program("ps")?;
    holds("nsenter-lite")
}

pub fn chrootx() -> Test {
    holds("chrootx")
}

pub fn cgset() -> Test {
    holds("cgset")
}

/// All lines are typed one after the other, in a folder and a mount namespace of their own.
fn holds(tool: &str) -> Test {
    need_root()?;
    need_no_filter("it says what is printed where no call is denied")?;
    let _alone = alone();
    let (folder, before) = (scratch(), traces());
    let here = folder.path().join("here");
    fs::create_dir(&here).expect("our own folder");
    let text = fs::read_to_string(project().join(tool).join("README.md")).expect("it is there");
    // A group of this name may be somebody's.
    let lines = lines(&text.replace("box", &format!("box-{}", std::process::id())));
    assert!(lines.len() > 7, "{tool}: {} lines", lines.len());
    let mut script = String::from("typed() { eval \"$2\" >\"../$1\" 2>&1 </dev/null; }\n");
    for (number, line) in lines.iter().enumerate() {
        script.extend([
            "typed ",
            &number.to_string(),
            " ",
            &common::shell::quote(&line.typed),
            "\n",
        ]);
    }
    let mut shell = with_tools("nsenter-lite");
    shell.args(["--mount", "--", "sh", "-c", &script]).current_dir(&here);
    let ran = run(&mut shell);
    for (number, line) in lines.iter().enumerate() {
        check(tool, line, &folder.path().join(number.to_string()));
    }
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{tool}");
    assert_eq!(traces(), before, "{tool}");
    Ok(())
}

fn check(tool: &str, line: &Line, file: &Path) {
    let printed = fs::read_to_string(file).expect("what was printed");
    assert!(
        matches(&plain(&line.printed), &plain(&printed)),
        "{tool}/README.md: $ {}\nsays that it prints:\n{}\nit prints:\n{printed}",
        line.typed,
        line.printed
    );
}

/// Those behind `$ `, which what is printed follows; `> ` goes on with what is typed. They are
/// indented, as all code is.
fn lines(readme: &str) -> Vec<Line> {
    let (mut lines, mut indent) = (Vec::<Line>::new(), None);
    for text in readme.lines() {
        let word = text.trim_start_matches(' ');
        let depth = text.len() - word.len();
        if let (4.., Some(typed)) = (depth, word.strip_prefix("$ ")) {
            indent = Some(depth);
            lines.push(Line { typed: typed.to_owned(), printed: String::new() });
            continue;
        }
        let here = indent.and_then(|indent| text.get(indent..)).filter(|_| Some(depth) >= indent);
        match (here, lines.last_mut()) {
            (Some(more), Some(line)) => match more.strip_prefix("> ") {
                Some(typed) => line.typed.extend(["\n", typed]),
                None => line.printed.extend([more, "\n"]),
            },
            _ => indent = None,
        }
    }
    lines
}

/// With one blank for several: columns are as wide as the machine's numbers.
fn plain(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    true
}
