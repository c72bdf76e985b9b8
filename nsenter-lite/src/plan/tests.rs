use super::*;
use clap::Parser;

fn ordinary() -> Known {
    Known {
        uid: 1000,
        gid: 100,
        name: Some("me".into()),
        subordinate: ["me:100000:65536\n", "1000:200000:10\nme:300000:5\n"].map(String::from),
        mapped: ["0 0 4294967295\n", "0 0 4294967295\n"].map(String::from),
        ..Known::default()
    }
}

fn steps(words: &str) -> Result<Vec<Step>, Failure> {
    let words = ["nsenter-lite"].into_iter().chain(words.split_whitespace());
    create(Cli::try_parse_from(words).expect("a good command line"), &ordinary())
}

fn creation(words: &str) -> Creation {
    let steps = steps(words).expect("a plan");
    let creation = steps.into_iter().find_map(|step| match step {
        Step::Create(creation) => Some(creation),
        _ => None,
    });
    creation.expect("a step that makes namespaces")
}

#[test]
fn lines_are_unshares_own() {
    for (words, line) in [
        ("--mount", "unshare --mount"),
        ("-p", "unshare --pid --fork --kill-child"),
        ("-fp", "unshare --pid --fork --kill-child"),
        ("-p --kill-child=TERM", "unshare --pid --fork --kill-child=SIGTERM"),
        ("-f", "unshare --fork"),
        ("-T", "unshare --time --fork"),
        ("-r", "unshare --user --map-root-user"),
        ("-c", "unshare --user --map-current-user"),
        ("-U --setgroups deny", "unshare --user --setgroups deny"),
        ("-m --propagation slave", "unshare --mount --propagation slave"),
        ("-u --propagation slave", "unshare --uts"),
        ("-muinC", "unshare --mount --uts --ipc --net --cgroup"),
        ("--map-user 5", "unshare --user --map-user=5"),
        ("--map-user 5 --map-group 0", "unshare --user --map-user=5 --map-group=0"),
        ("--boottime -5", "unshare --time --boottime -5 --fork"),
        ("-r -R d -w /x", "unshare --user --map-root-user --root=d --wd=/x"),
        ("-R d -S 1 -G 2", "unshare --root=d --setgid 2 --setuid 1"),
        ("-r -S 0 -G 0 --keep-caps", "unshare --user --map-root-user --keep-caps --setuid 0"),
        (
            "-p --init -R d -S 1 -G 2",
            "unshare --pid --root=d --setgid 2 --setuid 1 --fork --kill-child \
             sh -c '\"$@\"; exit $?' init",
        ),
        ("--net=f", "unshare --net=f"),
        ("-u --persist d", "unshare --uts=d/uts"),
    ] {
        assert_eq!(creation(words).line(), line, "{words}");
    }
}

#[test]
fn options_imply_their_namespaces() {
    assert_eq!(creation("--mount-proc").kinds, [Kind::Mount]);
    assert_eq!(creation("--hostname box").kinds, [Kind::Uts]);
    assert_eq!(creation("--map-users 0:5:1 --map-groups 0:5:1").kinds, [Kind::User]);
    assert_eq!(creation("--monotonic 5").kinds, [Kind::Time]);
}

#[test]
fn the_pid_is_written_while_proc_is_still_the_one_of_outside() {
    let steps = steps("-p --hostname box --mount-proc=d --pid-file f").expect("a plan");
    let proc = Step::Proc { at: Folder::new(None, "d".into()), shared: false };
    assert_eq!(steps[1..], [Step::PidFile("f".into()), proc, Step::Hostname("box".into())]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for words in ["", "--setgroups deny -m", "-r --setgroups allow"] {
        let failure = steps(words).expect_err("no plan");
        assert_eq!(failure.status(common::Form::Plain), 2, "{words}");
    }
    let lost = "--user --hostname box --dry-run";
    assert!(steps(lost).is_err(), "a shell would have lost its capabilities");
}
