//! E22: a root that brings code for the C library's name service, to be run by whoever looks up a
//! user in it.

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Test, alpine, need_program, run};

use crate::inside;

/// A library that leaves a mark when it is loaded, with its names for passwd and group.
fn evil(root: &Path) {
    let source = root.join("evil.c");
    let code = "#include <fcntl.h>\n__attribute__((constructor)) static void mark(void) { creat(\"/mark\", 0600); }\n";
    fs::write(&source, code).expect("our own folder");
    let library = root.join("lib/libnss_evil.so.2");
    run(Command::new("gcc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source)).silent();
    for folder in
        ["usr/lib", "lib64", "usr/lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
    {
        fs::create_dir_all(root.join(folder)).expect("our own folder");
        fs::copy(&library, root.join(folder).join("libnss_evil.so.2")).expect("our own folder");
    }
    fs::write(
        root.join("etc/nsswitch.conf"),
        "passwd: evil files\ngroup: evil files\ninitgroups: evil\n",
    )
    .expect("our own folder");
}

pub fn no_code_of_the_root_is_run_to_look_up_a_user() -> Test {
    need_program("gcc")?;
    let root = alpine()?;
    let root = root.path();
    evil(root);
    let passwd = "root:x:0:0::/:/bin/sh\nbob:x:4242:100::/:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).expect("our own folder");
    let mark = root.join("mark");
    for options in
        [&["-u", "bob"][..], &["-u", "bob", "--chroot"], &["-u", "bob:users", "--groups=users"]]
    {
        let options = [options, &["--no-new-privs"]].concat();
        assert_eq!(inside(root, &options, &["/usr/bin/id", "-u"]).silent(), "4242\n");
        inside(root, &["-u", "nobody-of-that-name"], &["/bin/true"]).fails(
            125,
            "chrootx",
            &["look up"],
        );
        assert!(!mark.exists(), "{options:?}");
    }
    // The same library is loaded by a program that asks the C library.
    let getent = need_program("getent")?;
    let script = "for file in \"$2\" $(ldd \"$2\" | grep -o '/[^ ]*'); do
        mkdir -p \"$1${file%/*}\"; cp -L \"$file\" \"$1$file\"; done";
    run(support::sh(script).arg(root).arg(&getent)).silent();
    let asked = inside(root, &[], &[getent.to_str().expect("a plain path"), "passwd", "bob"]);
    assert!(mark.exists(), "this way in must be known to work: {asked:?}");
    Ok(())
}
