//! What `scripts/container run` makes of its words, seen from inside.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use support::{Test, project, run, scratch, sh};

use crate::{alone, container, rootfs, script, tools};

/// They are COMMAND and its arguments, and never options of chrootx.
pub fn words_behind_the_root_are_the_commands() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    for word in ["--help", "--cap-keep", "-u"] {
        let told = container(&[], &root, &[word, "all", "/bin/sh", "-c", "echo run"]);
        told.fails(127, "chrootx", &[&format!("run \"{word}\"")]);
    }
    assert_eq!(container(&[], &root, &["--", "/bin/echo", "--", "-n"]).silent(), "-- -n\n");
    Ok(())
}

pub fn another_user_and_folder() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nbob:x:12:34::/srv:/bin/sh\n")
        .expect("our own root");
    let look = ["/bin/sh", "-c", "id -u; id -g; pwd; echo $HOME"];
    let look = |options: &[&str]| container(options, &root, &look).silent();
    assert_eq!(look(&["--user", "bob", "--workdir", "/etc"]), "12\n34\n/etc\n/srv\n");
    assert_eq!(look(&["-u", "bob:7", "-e", "HOME=/tmp"]), "12\n7\n/\n/tmp\n");
    assert_eq!(look(&["-uroot", "-w/etc"]), "0\n0\n/etc\n/root\n");
    Ok(())
}

/// What is relative is so to the folder that one is in, whatever its name.
pub fn a_folder_with_a_colon_in_its_name() -> Test {
    let (folder, root) = rootfs()?;
    let _alone = alone();
    let odd = folder.path().join(r"a:b\:c");
    fs::create_dir_all(odd.join("srv")).expect("our own folder");
    fs::write(odd.join("srv/file"), "hello\n").expect("our own folder");
    let mut command = script("container");
    command.args(["run", "-v", "srv:/mnt"]).arg(&root).args(["/bin/cat", "/mnt/file"]);
    assert_eq!(run(command.current_dir(&odd)).silent(), "hello\n");
    Ok(())
}

/// The tools that scripts/build has made, where PATH has none.
pub fn the_tools_are_found_beside_it() -> Test {
    tools();
    let folder = scratch();
    fs::create_dir(folder.path().join("scripts")).expect("our own folder");
    let link = folder.path().join("container");
    symlink(project().join("scripts/container"), &link).expect("our own folder");
    let command = |script: &str| {
        let mut command = sh(format!("cd \"$1\" && exec {script} run -n /"));
        command.arg(project()).arg(&link);
        run(command.env("CDPATH", folder.path())).silent()
    };
    for script in ["scripts/container", "./scripts/container", "\"$2\""] {
        assert!(command(script).starts_with("nsenter-lite "), "{script}");
    }
    // Installed, in a folder that is not in PATH.
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("our own folder");
    fs::copy(project().join("scripts/container"), bin.join("container")).expect("a script");
    let installed = || {
        run(Command::new("env")
            .args(["-i", "PATH=/usr/bin:/bin"])
            .arg(bin.join("container"))
            .args(["run", "-n", "/"]))
    };
    installed().fails(125, "container", &["nsenter-lite: not found", "hint: "]);
    for tool in ["nsenter-lite", "bindmount", "chrootx"] {
        symlink(tools().join(tool), bin.join(tool)).expect("our own folder");
    }
    assert!(installed().silent().starts_with("nsenter-lite "));
    Ok(())
}

/// Where the caller has no PATH, the one that the script sets is exported all the same.
pub fn without_a_path_the_tools_find_each_other() -> Test {
    let (_folder, root) = rootfs()?;
    let _alone = alone();
    tools();
    let mut command = Command::new("env");
    command.args(["-i", "/bin/sh"]).arg(project().join("scripts/container"));
    assert_eq!(run(command.arg("run").arg(root).args(["/bin/echo", "here"])).silent(), "here\n");
    Ok(())
}
