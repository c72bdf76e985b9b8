//! Where the kernel, or a filter, denies a call; and a machine with many mounts.

use std::time::{Duration, Instant};

use support::{Test, need_program, private_sh, run, scratch};

use super::{BINDMOUNT, bare_root, in_folder};

/// Without these nothing can be mounted by descriptor, so it fails, and falls back to no path.
pub fn a_denied_call_is_named_and_leaves_nothing() -> Test {
    need_program("strace")?;
    for call in ["open_tree", "move_mount", "mount_setattr", "fsopen", "fsconfig", "fsmount"] {
        for errno in ["ENOSYS", "EPERM"] {
            let root = bare_root()?;
            let script = format!(
                "before=$(cat /proc/self/mountinfo; find . ! -name log | sort); status=0
                strace -qq -o log -e trace={call} -e inject={call}:error={errno} \
                    $B --mkdir --std . /etc:/etc2:ro || status=$?
                [ \"$before\" = \"$(cat /proc/self/mountinfo; find . ! -name log | sort)\" ] || echo changed
                exit $status"
            );
            let ran = in_folder(root.path(), &script);
            ran.fails(
                1,
                "bindmount",
                &[&format!("({errno})"), "hint: ", "mount_setattr", "filter"],
            );
        }
    }
    Ok(())
}

/// At most one and a half times as long with a thousand more of them.
pub fn its_cost_does_not_grow_with_the_mounts_of_the_machine() -> Test {
    let (root, folder) = (bare_root()?, scratch());
    let median = |mounts: usize| {
        let script = format!(
            "mount -t tmpfs many \"$2\"; mkdir \"$2/m\"; i=0; while [ $i -lt {mounts} ]; do i=$((i+1))
            mkdir \"$2/m/$i\"; mount --bind \"$2/m\" \"$2/m/$i\"; done; i=0
            while [ $i -lt 15 ]; do i=$((i+1)); date +%s%N; $B --std .; date +%s%N
            $B -u -R .; done"
        );
        let start = Instant::now();
        let script = format!("B={BINDMOUNT}; cd \"$1\"; {script}");
        let seen = run(private_sh(&script).args([root.path(), folder.path()])).ok();
        assert!(start.elapsed() < Duration::from_secs(60));
        let times: Vec<u64> = seen.lines().filter_map(|line| line.parse().ok()).collect();
        let mut took: Vec<u64> = times.chunks(2).map(|two| two[1] - two[0]).collect();
        took.sort_unstable();
        took[took.len() / 2]
    };
    // In turn, and the best of three: a machine has slow moments, and both may have their share.
    let (mut few, mut many) = (u64::MAX, u64::MAX);
    for _ in 0..3 {
        few = few.min(median(1));
        many = many.min(median(1000));
    }
    assert!(many * 2 <= few * 3, "{few} ns, with a thousand mounts {many} ns");
    Ok(())
}
