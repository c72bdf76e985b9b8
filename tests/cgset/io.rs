//! What is read from a disk and written to it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Skip, TempDir, Test, need_program, run, scratch, skip};

use crate::layout::{Name, cgset, control, groups_called, need, run_known, tree_of};

/// A disk of ours: a file of 8 MiB behind a loop device.
struct Disk {
    device: String,
    _folder: TempDir,
}

impl Disk {
    fn new() -> Result<Self, Skip> {
        let losetup = need_program("losetup")?;
        let folder = scratch();
        let file = folder.path().join("disk");
        File::create(&file).and_then(|file| file.set_len(8 << 20)).expect("ours");
        // In two steps, for busybox does not say which one it has taken; another may be faster.
        let mut why = String::new();
        for _ in 0..10 {
            let free = run(Command::new(&losetup).arg("-f"));
            let device = free.stdout.trim().to_owned();
            let taken = run(Command::new(&losetup).arg(&device).arg(&file));
            if (free.status, taken.status) == (0, 0) {
                return Ok(Self { device, _folder: folder });
            }
            why = free.stderr + &taken.stderr;
        }
        Err(skip(format!("no loop device here: {}", why.trim())))
    }

    fn name(&self) -> &str {
        self.device.trim_start_matches("/dev/")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.device).status();
    }
}

/// Skips a test that needs root and the controller, which v1 calls blkio.
pub fn need_io() -> Test {
    need(&[])?;
    tree_of("io").or_else(|_| tree_of("blkio")).map(drop)
}

pub fn a_disk_is_read_and_written_at_the_rate() -> Test {
    need_io()?;
    let disk = Disk::new()?;
    let (from, to) = (format!("if={}", disk.device), format!("of={}", disk.device));
    let read = [from.as_str(), "of=/dev/null", "iflag=direct"];
    let write = ["if=/dev/zero", to.as_str(), "oflag=direct"];
    for (key, rate, files) in [("io.read", "2M", read), ("io.write", "128iops", write)] {
        // 4 MiB in pieces of 16 KiB: 2 seconds at either rate.
        let limit = format!("{}:{rate}", disk.name());
        let dd = ["--", "dd", "bs=16k", "count=256", "status=none"];
        let started = Instant::now();
        let (pid, ran) = run_known(&[&[key, &limit], &dd[..], &files].concat());
        let took = started.elapsed();
        assert_eq!((ran.status, ran.stdout.as_str()), (0, ""), "{ran:?}");
        let wanted = Duration::from_millis(1700)..Duration::from_millis(2600);
        assert!(wanted.contains(&took), "{key} {limit} took {took:?}");
        assert!(groups_called(&Name::of(pid)).is_empty());
    }
    Ok(())
}

pub fn rates_are_set_by_disk_and_taken_back() -> Test {
    need_io()?;
    let disk = Disk::new()?;
    let name = Name::new("rates");
    let rate = |amount: &str| format!("{}:{amount}", disk.device);
    let path = cgset(&["io.read", &rate("1M"), "io.read", &rate("50iops"), "-g", &name]).silent();
    let io = if tree_of("io").is_ok() { "io" } else { "blkio" };
    assert_eq!(name.groups_with(io), [PathBuf::from(path.trim_end())]);
    let shown = cgset(&["show", &name]).silent();
    assert!(shown.contains(" read 1048576 (1 MiB) a second, read 50 iops\n"), "{shown}");
    cgset(&["io.read", &rate("max"), "io.write", &rate("2M"), "-g", &name]).ok();
    let shown = cgset(&["show", &name]).silent();
    assert!(shown.contains(" write 2097152 (2 MiB) a second, read 50 iops\n"), "{shown}");
    cgset(&["io.read", &rate("maxiops"), "io.write", &rate("max"), "-g", &name]).silent();
    let shown = cgset(&["show", &name]).silent();
    assert!(!shown.contains("io.limit"), "{shown}");
    // A group with this limit alone is joined without naming it again, and removed as any other.
    let groups = ["-g", &name, "--", "grep", "-c", &name, "/proc/self/cgroup"];
    assert!(cgset(&groups).silent().trim().parse::<u32>().expect("a number") > 0);
    assert_eq!(cgset(&["rm", &name]).silent(), "");
    assert!(name.groups().is_empty());
    Ok(())
}

pub fn rates_in_one_line_are_read_and_taken_back_each() -> Test {
    need(&[])?;
    if tree_of("io").is_err() {
        return Err(skip("only v2 has a line for several rates"));
    }
    let (disk, name) = (Disk::new()?, Name::new("line"));
    let number = std::fs::read_to_string(format!("/sys/class/block/{}/dev", disk.name()));
    let number = number.expect("it is there").trim().to_owned();
    let line = format!("{number} rbps=1M wbps=2097152");
    let dir = PathBuf::from(cgset(&["io.max", &line, "-g", &name]).silent().trim_end());
    let both = format!("{number} rbps=1048576 wbps=2097152 riops=max wiops=max");
    assert_eq!(control(&dir, &["io.max"]), both);
    let other = format!("{number} rbps=3M wbps=max riops=100");
    let fails = ["io.max", &other, "io.nonsense", "1", "-g", &*name];
    cgset(&fails).fails(1, "cgset", &["io.nonsense", "(ENOENT)"]);
    assert_eq!(control(&dir, &["io.max"]), both);
    Ok(())
}

pub fn a_disk_by_two_names_is_one_disk() -> Test {
    need_io()?;
    let disk = Disk::new()?;
    let name = Name::new("twice");
    let (short, long) = (format!("{}:1M", disk.name()), format!("{}:2M", disk.device));
    let both = ["io.read", &short, "io.read", &long, "-g", &*name];
    cgset(&both).fails(2, "cgset", &["it is named twice", "hint: "]);
    assert!(name.groups().is_empty());
    cgset(&["io.read", &short, "io.write", &long, "-g", &name]).ok();
    Ok(())
}

pub fn what_is_no_disk_is_refused_and_leaves_nothing() -> Test {
    need_io()?;
    let name = Name::new("no-disk");
    for (disk, part) in [
        ("no-such-disk", "there is none of this name"),
        ("/proc", "it is on no disk of its own"),
        ("/nowhere/at/all", "ENOENT"),
        ("0:99", "there is none of this name"),
    ] {
        let ran = cgset(&["io.read", &format!("{disk}:1M"), "-g", &name]);
        ran.fails(1, "cgset", &[&format!("{disk:?}"), part]);
        assert!(name.groups().is_empty());
    }
    Ok(())
}
