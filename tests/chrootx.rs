//! Black-box tests of chrootx against the real kernel.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::{Ran, Test, alpine, need_program, need_root, private_sh, project, run, scratch, sh};

#[path = "chrootx/engine.rs"]
mod engine;
#[path = "chrootx/environment.rs"]
mod environment;
#[path = "chrootx/gnu.rs"]
mod gnu;
#[path = "chrootx/in_place.rs"]
mod in_place;
#[path = "chrootx/landlock.rs"]
mod landlock;
#[path = "chrootx/nss.rs"]
mod nss;
#[path = "chrootx/power.rs"]
mod power;
#[path = "chrootx/program.rs"]
mod program;
#[path = "chrootx/root.rs"]
mod root;
#[path = "chrootx/script.rs"]
mod script;

support::tests!(
    the_command_sees_the_new_root_only,
    the_default_command_is_the_users_shell_of_the_new_root,
    the_mount_namespace_is_its_own_and_the_hosts_is_left_alone,
    the_old_root_is_unmounted,
    mounts_below_the_root_come_along,
    the_double_chroot_escapes_from_chroot_and_not_from_the_default,
    users_and_groups_come_from_the_new_root,
    users_are_read_to_the_end_or_not_at_all,
    a_user_can_not_get_back_to_root,
    a_user_still_dies_with_its_parent,
    a_passwd_that_is_a_link_to_the_outside_is_read_inside,
    a_working_directory_outside_is_refused,
    statuses_are_those_of_env_and_chroot,
    the_world_is_handed_on_unchanged,
    wrong_usage_is_one_line,
    without_privileges_it_says_so,
    script::the_dry_run_script_does_the_same,
    script::a_relative_name_is_one_from_here,
    script::explain_and_dry_run_say_the_same,
    script::a_dry_run_changes_nothing,
    gnu::users_are_those_of_chroot,
    gnu::statuses_and_directories_are_those_of_chroot,
    root::device_files_of_the_root_open_nothing,
    root::a_folder_is_no_input,
    root::any_path_to_it_will_do,
    root::the_root_that_one_has_is_a_root_too,
    root::without_the_newer_calls_the_same_is_done,
    root::a_remount_keeps_what_can_not_be_taken_off,
    environment::entries_that_are_no_variables_are_cleared_too,
    environment::any_name_will_do,
    environment::a_user_without_a_name_has_a_home_too,
    engine::it_says_when_it_is_ready_and_waits,
    engine::it_says_why_it_is_not_ready,
    engine::a_descriptor_hears_it_too,
    engine::the_script_waits_and_tells_too,
    engine::a_terminal_is_given_and_its_other_end_sent,
    engine::a_terminal_that_can_not_be_had_is_said,
    engine::a_terminal_that_is_none_is_refused,
    in_place::all_in_the_namespace_get_the_root,
    in_place::in_place_only_what_is_asked_for_is_done,
    in_place::a_namespace_of_others_is_left_alone,
    landlock::files_are_those_of_the_rules,
    landlock::ports_are_those_of_the_rules,
    landlock::other_processes_are_out_of_reach,
    landlock::a_kernel_that_can_not_is_told_from_one_that_can,
    landlock::rules_that_make_no_sense_are_refused,
    nss::no_code_of_the_root_is_run_to_look_up_a_user,
    program::a_script_without_an_interpreter_is_for_the_shell,
    program::a_mount_that_lets_no_program_run_is_named,
    program::a_program_of_another_machine_is_not_for_the_shell,
    program::a_command_that_nobody_named_is_explained,
    program::a_number_that_is_none_is_explained,
    power::what_the_caller_left_open_stays_out,
    power::capabilities_are_those_asked_for,
    power::nothing_is_inherited,
    power::without_its_capability_a_call_is_refused,
    power::no_program_gains_privileges,
    power::the_root_is_read_only_and_what_is_in_it_as_it_was,
    power::limits_umask_and_variables_are_set,
    power::a_limit_that_can_not_be_raised_is_explained,
    power::calls_that_a_container_needs_not_are_refused,
    power::programs_of_32_bits_are_held_too,
    power::a_keyring_of_ones_own,
    power::each_call_that_fails_stops_it,
    power::what_can_not_be_read_is_said,
);

fn chrootx() -> Command {
    Command::new(env!("CARGO_BIN_EXE_chrootx"))
}

fn inside(root: &Path, options: &[&str], command: &[&str]) -> Ran {
    run(chrootx().args(options).arg(root).args(command))
}

fn the_command_sees_the_new_root_only() -> Test {
    let root = alpine()?;
    let seen = inside(root.path(), &[], &["/bin/ls", "/"]).silent();
    assert!(seen.contains("media\n") && !seen.contains("boot"), "{seen}");
    assert_eq!(inside(root.path(), &[], &["/bin/pwd"]).silent(), "/\n");
    let release = inside(root.path(), &["--chroot"], &["/bin/cat", "/etc/alpine-release"]);
    assert_eq!(release.silent(), "3.20.3\n");
    Ok(())
}

fn the_default_command_is_the_users_shell_of_the_new_root() -> Test {
    let root = alpine()?;
    let script = "echo $0; cat /etc/alpine-release";
    let ran = support::run_with_input(chrootx().arg(root.path()), script.as_bytes());
    assert_eq!(ran.silent(), "/bin/sh\n3.20.3\n");
    let passwd = "root:x:0:0:root:/root:/bin/my-shell\n";
    fs::write(root.path().join("etc/passwd"), passwd).expect("etc is there");
    let shell = root.path().join("bin/my-shell");
    fs::write(&shell, "#!/bin/sh\necho mine\n").expect("bin is there");
    fs::set_permissions(shell, fs::Permissions::from_mode(0o755)).expect("it was just written");
    assert_eq!(inside(root.path(), &[], &[]).silent(), "mine\n");
    Ok(())
}

fn the_mount_namespace_is_its_own_and_the_hosts_is_left_alone() -> Test {
    let root = alpine()?;
    let before = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let script = "mount -t proc proc /proc; readlink /proc/self/ns/mnt; mount -t tmpfs t /mnt";
    let mine = inside(root.path(), &[], &["/bin/sh", "-c", script]).silent();
    let ours = fs::read_link("/proc/self/ns/mnt").expect("a namespace");
    assert!(mine.starts_with("mnt:[") && mine.trim() != ours.to_string_lossy(), "{mine}");
    assert!(!root.path().join("proc/self").exists());
    let root = root.path().to_string_lossy().into_owned();
    let after = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let ours = |table: &str| table.lines().filter(|line| line.contains(&root)).count();
    assert_eq!((ours(&before), ours(&after)), (0, 0));
    Ok(())
}

fn the_old_root_is_unmounted() -> Test {
    let root = alpine()?;
    let script = "mount -t proc proc /proc; cat /proc/self/mountinfo";
    let table = inside(root.path(), &[], &["/bin/sh", "-c", script]).silent();
    let targets: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(targets, ["/", "/proc"]);
    Ok(())
}

fn mounts_below_the_root_come_along() -> Test {
    let root = alpine()?;
    let script = "mount -t tmpfs t \"$1/mnt\"; echo here >\"$1/mnt/file\"
        \"$2\" \"$1\" /bin/cat /mnt/file; \"$2\" --chroot \"$1\" /bin/cat /mnt/file";
    let program = env!("CARGO_BIN_EXE_chrootx");
    assert_eq!(run(private_sh(script).arg(root.path()).arg(program)).silent(), "here\nhere\n");
    Ok(())
}

/// A static program of tests/chrootx, put into the root.
fn compiled(source: &str, root: &Path) -> Result<String, support::Skip> {
    need_program("rustc")?;
    let name = source.trim_end_matches(".rs");
    let source = project().join("tests/chrootx").join(source);
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-C", "target-feature=+crt-static", "-o"]);
    run(rustc.arg(root.join(name)).arg(source)).silent();
    Ok(format!("/{name}"))
}

fn the_double_chroot_escapes_from_chroot_and_not_from_the_default() -> Test {
    let root = alpine()?;
    let program = compiled("escape.rs", root.path())?;
    let mark = scratch();
    let attempt = |options: &[&str]| {
        run(chrootx().args(options).arg(root.path()).arg(&program).arg(mark.path()))
    };
    let kept = ["--chroot", "--cap-keep", "sys_chroot"];
    assert_eq!(attempt(&kept).status, 0, "this way out must be known to work");
    assert_eq!(attempt(&[]).status, 1);
    assert_eq!(attempt(&["--cap-default"]).status, 1, "it may call chroot(2)");
    assert_eq!(attempt(&["--cap-drop=all", "--cap-keep=sys_chroot,dac_override"]).status, 1);
    assert_eq!(attempt(&["--chroot"]).status, 101, "it may not");
    let script = run(chrootx().arg("-n").arg(root.path()).arg(&program).arg(mark.path())).silent();
    assert_eq!(run(&mut sh(&script)).status, 1, "nor from the script's");
    Ok(())
}

fn users_and_groups_come_from_the_new_root() -> Test {
    let root = alpine()?;
    for (file, line) in
        [("passwd", "bob:x:4242:100::/home/bob:/bin/sh\n"), ("group", "gear:x:777:bob\n")]
    {
        let path = root.path().join("etc").join(file);
        let text = fs::read_to_string(&path).expect("alpine has it") + line;
        fs::write(path, text).expect("we are root");
    }
    let id = |options: &[&str]| inside(root.path(), options, &["/usr/bin/id"]).silent();
    let bob = "uid=4242(bob) gid=100(users) groups=100(users),777(gear)\n";
    assert_eq!(id(&["-u", "bob"]), bob);
    assert_eq!(id(&["--userspec=4242", "--chroot"]), bob);
    assert_eq!(id(&["-u", "5:6"]), "uid=5(sync) gid=6(disk) groups=6(disk)\n");
    assert_eq!(id(&["-u", "bob:gear", "--groups="]), "uid=4242(bob) gid=777(gear)\n");
    let script = "echo $HOME $USER $LOGNAME $SHELL; pwd";
    let told = inside(root.path(), &["-u", "bob", "-w", "/tmp"], &["/bin/sh", "-c", script]);
    assert_eq!(told.silent(), "/home/bob bob bob /bin/sh\n/tmp\n");
    inside(root.path(), &["-u", "alice"], &["/bin/true"]).fails(
        125,
        "chrootx",
        &["look up the user \"alice\": not in the root's /etc/passwd"],
    );
    Ok(())
}

/// A cut file would have a cut line at its end, with another group perhaps.
fn users_are_read_to_the_end_or_not_at_all() -> Test {
    let root = alpine()?;
    let passwd = root.path().join("etc/passwd");
    let many = (0..60_000).map(|id| format!("user{id}:x:{id}:{id}::/home/user:/bin/sh\n"));
    fs::write(&passwd, many.collect::<Vec<_>>().concat()).expect("our own folder");
    assert!(fs::metadata(&passwd).expect("it was just written").len() > 2 << 20);
    let last = inside(root.path(), &["-u", "user59999"], &["/bin/sh", "-c", "id -u; id -g"]);
    assert_eq!(last.silent(), "59999\n59999\n");
    let file = fs::File::options().write(true).open(&passwd).expect("our own folder");
    file.set_len((64 << 20) + 1).expect("a hole");
    let too_large = inside(root.path(), &["-u", "user1"], &["/bin/true"]);
    too_large.fails(125, "chrootx", &["read \"etc/passwd\" of the root", "larger than 64 MiB"]);
    Ok(())
}

fn a_user_can_not_get_back_to_root() -> Test {
    let root = alpine()?;
    let script = "mount -t proc proc /proc; exec \"$@\"";
    let status = ["grep", "-E", "^(Uid|Gid|Cap(Eff|Prm)):", "/proc/self/status"];
    let program = env!("CARGO_BIN_EXE_chrootx");
    let script = script.replace("/proc;", "\"$1/proc\"; shift;");
    let mut command = private_sh(&script);
    command.arg(root.path()).args([program, "-u", "nobody"]).arg(root.path()).args(status);
    let none = "0000000000000000";
    assert_eq!(
        run(&mut command).silent(),
        format!(
            "Uid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\n\
             CapPrm:\t{none}\nCapEff:\t{none}\n"
        )
    );
    Ok(())
}

/// setpriv(1) asks the kernel to kill it with its parent, and tells what is still asked for.
fn a_user_still_dies_with_its_parent() -> Test {
    need_root()?;
    let status = run(Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            env!("CARGO_BIN_EXE_chrootx"),
            "-u",
            "65534:65534",
            "--chroot",
        ])
        .args(["/", "setpriv", "--dump"]));
    assert!(status.silent().contains("Parent death signal: KILL"));
    Ok(())
}

fn a_passwd_that_is_a_link_to_the_outside_is_read_inside() -> Test {
    let root = alpine()?;
    let outside = scratch();
    let passwd = outside.path().join("passwd");
    fs::write(&passwd, "mallory:x:0:0::/:/bin/sh\n").expect("a file in our own folder");
    fs::remove_file(root.path().join("etc/passwd")).expect("alpine has it");
    symlink(&passwd, root.path().join("etc/passwd")).expect("a link");
    let attempt = inside(root.path(), &["-u", "mallory"], &["/bin/true"]);
    attempt.fails(125, "chrootx", &["look up the user \"mallory\""]);
    fs::remove_file(root.path().join("etc/passwd")).expect("it was just made");
    run(Command::new("mkfifo").arg(root.path().join("etc/passwd"))).silent();
    let attempt = inside(root.path(), &["-u", "mallory"], &["/bin/true"]);
    attempt.fails(125, "chrootx", &["not a regular file"]);
    Ok(())
}

fn a_working_directory_outside_is_refused() -> Test {
    let root = alpine()?;
    let script =
        "mount -t proc proc \"$1/proc\"; exec 9</; \"$2\" -w /proc/self/fd/9 \"$1\" /bin/ls";
    let ran = run(private_sh(script).arg(root.path()).arg(env!("CARGO_BIN_EXE_chrootx")));
    ran.fails(125, "chrootx", &["enter \"/proc/self/fd/9\" in the new root: it lies outside"]);
    let missing = inside(root.path(), &["-w", "/no/dir"], &["/bin/ls"]);
    missing.fails(125, "chrootx", &["\"/no/dir\"", "(ENOENT)"]);
    for (root, hint) in
        [("", "is a shell variable empty"), ("/none", "fetch-rootfs host \"/none\"")]
    {
        run(chrootx().args([root, "true"])).fails(125, "chrootx", &["(ENOENT)", "hint: ", hint]);
    }
    Ok(())
}

fn statuses_are_those_of_env_and_chroot() -> Test {
    let root = alpine()?;
    let status = |command: &[&str]| inside(root.path(), &[], command).status;
    assert_eq!(status(&["/bin/true"]), 0);
    assert_eq!(status(&["/bin/sh", "-c", "exit 42"]), 42);
    assert_eq!(status(&["/bin/sh", "-c", "kill -TERM $$"]), 143);
    inside(root.path(), &[], &["/bin/nope"]).fails(
        127,
        "chrootx",
        &["run \"/bin/nope\"", "ENOENT"],
    );
    inside(root.path(), &[], &["nope"]).fails(
        127,
        "chrootx",
        &["hint: it is in no folder of PATH"],
    );
    inside(root.path(), &[], &["/etc/passwd"]).fails(126, "chrootx", &["(EACCES)"]);
    inside(root.path(), &[], &["/etc"]).fails(126, "chrootx", &["run \"/etc\""]);
    fs::copy("/bin/ls", root.path().join("bin/hosts-ls")).expect("a program linked to glibc");
    inside(root.path(), &[], &["/bin/hosts-ls"]).fails(
        127,
        "chrootx",
        &["hint: \"/bin/hosts-ls\" is there; what has to load it", "ld-linux"],
    );
    Ok(())
}

/// SIGPIPE, the mask, the umask, closed descriptors: as the caller had them, in both cases.
fn the_world_is_handed_on_unchanged() -> Test {
    let root = alpine()?;
    let program = env!("CARGO_BIN_EXE_chrootx");
    let look = "umask; grep ^Sig[BIC] /proc/self/status; ls /proc/self/fd | grep -x '[012]'";
    let script = "mount -t proc proc \"$1/proc\"; root=$1; shift
        umask 027; \"$@\" <&-; trap '' PIPE; umask 0; \"$@\"";
    let direct = run(private_sh(script)
        .arg(root.path())
        .args(["chroot"])
        .arg(root.path())
        .args(["sh", "-c", look]))
    .silent();
    let mut through = private_sh(script);
    through.arg(root.path()).arg(program).arg(root.path()).args(["sh", "-c", look]);
    assert_eq!(run(&mut through).silent(), direct);
    let ignored = direct.lines().filter_map(|line| line.strip_prefix("SigIgn:\t"));
    let sigpipe: Vec<bool> = ignored.map(|mask| mask.ends_with("1000")).collect();
    assert_eq!(sigpipe, [false, true], "both cases were looked at");
    Ok(())
}

fn wrong_usage_is_one_line() -> Test {
    let fails =
        |args: &[&str], parts: &[&str]| run(chrootx().args(args)).fails(125, "chrootx", parts);
    fails(&[], &["not provided: <ROOTFS>", "hint: chrootx --help"]);
    fails(&["--bogus", "/"], &["unexpected argument '--bogus'"]);
    fails(
        &["/nowhere/at/all"],
        &["open the root file system \"/nowhere/at/all\"", "(ENOENT)", "hint: "],
    );
    fails(&["/etc/passwd"], &["(ENOTDIR)", "hint: if it is an archive: fetch-rootfs"]);
    fails(&["-n", "-x", "/"], &["cannot be used with"]);
    need_root()?;
    fails(&["-u", "", "/"], &["read a user from \"\": it names nobody"]);
    Ok(())
}

fn without_privileges_it_says_so() -> Test {
    need_root()?;
    for options in [&[][..], &["--chroot"]] {
        let mut command = chrootx();
        command.args(options).args(["/usr", "/bin/true"]).uid(65534).gid(65534);
        run(&mut command).fails(125, "chrootx", &["(EPERM)", "hint: that takes root"]);
    }
    // Of its own namespace, where it may have no other groups.
    need_program("setpriv")?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-r", "-m"]);
    command.arg(env!("CARGO_BIN_EXE_chrootx")).args(["-u", "1:1", "/", "true"]);
    run(&mut command).fails(125, "chrootx", &["set the groups [1]", "(EPERM)", "/etc/subuid"]);
    Ok(())
}
