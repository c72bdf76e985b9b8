//! Where /proc is that of a PID namespace above ours, and counts otherwise than we do.

use support::{Ran, Test, need_root, private_sh, run};

const TOOL: &str = env!("CARGO_BIN_EXE_nsenter-lite");

/// A shell that is PID 1 of a new PID namespace, in an empty folder. `$T` is the tool.
fn below(script: &str) -> Ran {
    let mut shell = private_sh("mount -t tmpfs here /mnt; cd /mnt; exec \"$@\"");
    run(shell.args(["unshare", "--pid", "--fork", "sh", "-e", "-c", script]).env("T", TOOL))
}

pub fn what_is_kept_is_the_commands() -> Test {
    need_root()?;
    for fork in ["", "--pid", "--init"] {
        let ran = below(&format!(
            "$T {fork} -u -n --persist keep sh -c 'readlink /proc/self/ns/uts /proc/self/ns/net
                stat -L -c \"uts:[%i]\" keep/uts; stat -L -c \"net:[%i]\" keep/net'"
        ));
        let ran = ran.silent();
        let lines: Vec<&str> = ran.lines().collect();
        assert_eq!(lines.len(), 4, "{ran}");
        assert_eq!(lines[..2], lines[2..]);
    }
    Ok(())
}

pub fn the_map_is_the_commands() -> Test {
    need_root()?;
    let ran = below("$T --map-users 0:100000:9 --map-groups 0:100000:9 cat /proc/self/uid_map");
    assert_eq!(ran.silent().split_whitespace().collect::<Vec<_>>(), ["0", "100000", "9"]);
    Ok(())
}

pub fn the_target_is_the_one_that_we_call_so() -> Test {
    need_root()?;
    let ran = below(
        "mkdir root root/folder
        MY=own $T -u --hostname inner sh -c 'cd root/folder; : >../../ready; exec sleep 100' &
        until [ -e ready ]; do sleep 0.01; done
        cd root; $T -t $! -u -w -e sh -c 'hostname; pwd; echo $MY'; $T -t $! -a hostname
        $T -t $! --join-cgroup true; kill $!",
    );
    assert_eq!(ran.silent(), "inner\n/mnt/root/folder\nown\ninner\n");
    Ok(())
}

/// A proc that is of another namespace, and none above ours, has no number for anybody here.
pub fn who_has_no_number_there_is_told() -> Test {
    need_root()?;
    let script = "unshare --pid --fork sh -e -c 'mount -t proc proc other; read -r _' <f & exec 8>f
        until [ -e other/1 ]; do sleep 0.01; done
        mount --bind other /proc; s=0; \"$@\" || s=$?; umount /proc; exec 8>&-; wait; exit $s";
    for words in ["-t $$ -a true", "-u --persist keep true", "--map-users 0:1:2 true"] {
        let ran = below(&format!("mkdir other; mkfifo f; set -- $T {words}; {script}"));
        ran.fails(125, "nsenter-lite", &["/proc", "hint: is /proc mounted, and that of this"]);
    }
    Ok(())
}

/// Nobody would run it in a folder that has the name of a process by accident: /proc is one.
pub fn a_number_is_never_a_folder() -> Test {
    need_root()?;
    let ran = below("cd /proc; $T -t $$ -u -e true; cd /mnt; mkdir $$; $T -t $$ -u true");
    assert_eq!(ran.silent(), "");
    let ran = below("mkdir 77; $T -t ./77 -a true");
    ran.fails(125, "nsenter-lite", &["\"./77\"", "no namespaces in it"]);
    Ok(())
}
