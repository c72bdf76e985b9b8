//! Signals that come while mounts are made.

use support::{Ran, Skip, Test, need_program};

use super::target::Contained;
use super::{COUNT, alpine, bare_root, in_folder, tree};

/// Their names, and the status of whom they end.
const SIGNALS: [(&str, i32); 2] = [("TERM", 143), ("INT", 130)];

/// Runs it, and sends it a signal at the n-th call of that name.
fn signalled(folder: &std::path::Path, call: &str, n: usize, args: &str) -> Result<Ran, Skip> {
    let strace = need_program("strace")?;
    let (strace, (signal, _)) = (strace.display(), SIGNALS[n % 2]);
    let inject =
        format!("{strace} -o log -e trace={call} -e inject={call}:signal={signal}:when={n}");
    let script = format!(
        "status=0; {inject} $B {args} || status=$?; {COUNT}; find . ! -name log | sort
        exit $status"
    );
    Ok(in_folder(folder, &script))
}

/// Whoever sends it need not look what there is to be taken away.
pub fn one_that_ends_it_midway_leaves_nothing() -> Test {
    for args in ["--mkdir --std . --bind /etc:/a/b:ro", "--mkdir --std . -- touch run"] {
        for (call, least) in [("move_mount", 15), ("mkdirat", 5)] {
            for n in 1.. {
                let root = bare_root()?;
                let names = in_folder(root.path(), "find . | sort").silent();
                let ran = signalled(root.path(), call, n, args)?;
                if ran.status == 0 {
                    assert!(n > least, "{call} {n}");
                    break;
                }
                assert_eq!(ran.status, SIGNALS[n % 2].1, "{call} {n}: {ran:?}");
                assert_eq!(ran.stdout, format!("0\n{names}"), "{call} {n}: {ran:?}");
            }
        }
    }
    let root = alpine()?;
    let contained = Contained::start(root.path());
    let script = format!(
        "status=0; strace -o log -e trace=setns -e inject=setns:signal=TERM $B -t {} --mkdir /etc /new \
            || status=$?; ! [ -e new ]; exit $status",
        contained.pid()
    );
    assert_eq!(in_folder(root.path(), &script).status, 143);
    assert!(!contained.bindmount(&["--list"]).silent().contains("/new"));
    Ok(())
}

/// And nothing is ended by what the caller ignores or has blocked.
pub fn command_has_the_callers_mask() -> Test {
    need_program("strace")?;
    let folder = tree()?;
    let inject = "strace -qq -o /dev/null -e inject=move_mount:signal";
    for (how, signal) in [("--ignore-signal=TERM", "TERM"), ("--block-signal=TERM", "TERM")] {
        let script = format!("env {how} {inject}={signal} $B src dst; cat dst/file");
        assert_eq!(in_folder(folder.path(), &script).silent(), "src/file\n", "{how}");
    }
    for signal in ["CHLD", "CONT", "WINCH", "PIPE"] {
        let script = format!("{inject}={signal} $B src dst; cat dst/file");
        assert_eq!(in_folder(folder.path(), &script).silent(), "src/file\n", "{signal}");
    }
    let script = "masks='grep -E Sig(Blk|Ign|Cgt) /proc/self/status'; for how in \
        --default-signal --block-signal=USR1,TERM --ignore-signal=INT; do
        [ \"$(env $how $masks)\" = \"$(env $how $B src dst -- $masks)\" ] || echo $how; done";
    assert_eq!(in_folder(folder.path(), script).silent(), "");
    Ok(())
}

/// A write beyond it is an error, which is what undoes the rest.
pub fn a_limit_on_files_leaves_nothing() -> Test {
    let root = bare_root()?;
    let script = format!(
        "status=0; (ulimit -f 0; $B --std . --dns 192.0.2.1) || status=$?; {COUNT}; exit $status"
    );
    let ran = in_folder(root.path(), &script);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, "0\n"), "{ran:?}");
    assert!(ran.stderr.contains("(EFBIG)"), "{ran:?}");
    Ok(())
}
