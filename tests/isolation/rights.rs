//! E19, E21, E22: users, capabilities, keys, sockets, and code of the root's that others load.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use support::{Test, need_program, run};

use crate::bed::{Bed, Mode, built};

/// What `--cap-default` leaves.
const CAPS: &str = "800405fb";

pub fn e19_rights(bed: &Bed) -> Test {
    bed.contains(&[], &["identity", "0", "0", "-", CAPS]);
    bed.contains(&["--cap-drop", "all"], &["identity", "0", "0", "-", "0"]);
    let serial = run(Command::new(built().join("probe")).arg("serial")).silent();
    bed.contains_with_and_without_filter(&["keyring", serial.trim()]);
    bed.contains(&[], &["signals"]);
    Ok(())
}

/// Another user of the root's does not become root by a file that says so.
pub fn e19_another_user(bed: &Bed) -> Test {
    let file = bed.root().join("bin/root");
    run(Command::new("cp").arg(built().join("probe")).arg(&file)).silent();
    bed.belongs_to_its_user();
    fs::set_permissions(&file, Permissions::from_mode(0o6755)).expect("ours");
    if matches!(bed.mode, Mode::RootAsRoot | Mode::User) {
        // There is no second user to be; the file is that of the one there is.
        bed.contains(&["--cap-drop", "all"], &["setuid", "/bin/root"]);
        return Ok(());
    }
    let bob = [("-- chrootx", "--user bob")];
    let setuid = ["/bin/probe", "setuid", "/bin/root"];
    bed.is_contained(&run(&mut bed.changed(&[], &bob, &setuid)), "a setuid file");
    let identity = ["/bin/probe", "identity", "1000", "1000", "1000", CAPS];
    let ran = run(&mut bed.changed(&[], &bob, &identity));
    bed.is_contained(&ran, "another user");
    let none = [("-- chrootx", "--user bob --groups ''")];
    let identity = ["/bin/probe", "identity", "1000", "1000", "-", CAPS];
    bed.is_contained(&run(&mut bed.changed(&[], &none, &identity)), "without groups");
    Ok(())
}

/// They belong to the network namespace: the container that shares the machine's reaches them,
/// one with its own does not.
pub fn e21_abstract_sockets(bed: &Bed) -> Test {
    let name = format!("container-tools-test-{}-{}", std::process::id(), bed.mode.name());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("a new name");
    let words = ["/bin/probe", "abstract", &name];
    let help = run(bed.as_user(bed.path("scripts/container")).arg("--help")).stdout;
    if help.contains("--network") {
        bed.contains(&["--network", "none"], &["abstract", &name]);
    } else {
        let own = run(&mut bed.changed(&[], &[("nsenter-lite", "--net")], &words));
        bed.is_contained(&own, "with a network of its own");
        let shared = run(&mut bed.container(&[], &words));
        assert_eq!(shared.status, 1, "it shares the machine's network, as documented: {shared:?}");
    }
    Ok(())
}

/// As uutils' chroot did: looking a user up ran the new root's code as the old one's root.
pub fn e22_a_name_service_of_the_root(bed: &Bed) -> Test {
    need_program("cc")?;
    let source = bed.path("evil.c");
    let mark = bed.victim().join("run");
    let code = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void f(void)
        {{ open(\"{}\", O_CREAT, 0600); open(\"/tmp/evil\", O_CREAT, 0600); }}",
        mark.display()
    );
    fs::write(&source, code).expect("ours");
    let lib = bed.root().join("lib/x86_64-linux-gnu");
    fs::create_dir_all(&lib).expect("ours");
    let library = lib.join("libnss_evil.so.2");
    run(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source)).silent();
    let etc = bed.root().join("etc");
    fs::write(etc.join("nsswitch.conf"), "passwd: evil files\ngroup: evil files\n").expect("ours");
    fs::write(etc.join("ld.so.preload"), "/lib/x86_64-linux-gnu/libnss_evil.so.2\n").expect("ours");
    bed.belongs_to_its_user();
    chown(bed.victim(), Some(1000), Some(1000)).expect("ours");
    fs::set_permissions(bed.victim(), Permissions::from_mode(0o777)).expect("ours");
    let user = if matches!(bed.mode, Mode::RootAsRoot | Mode::User) { "root" } else { "bob" };
    let command = [("-- chrootx", &*format!("--user {user}"))];
    // What does not run under the library is our probe, which is static.
    let ran = run(&mut bed.changed(&[], &command, &["/bin/probe", "euid"]));
    match user {
        "bob" => assert_eq!(ran.silent(), "1000\n"),
        // Groups can't be set there, but they were looked up before that.
        _ => ran.fails(125, "chrootx", &["set the groups"]),
    }
    assert!(!mark.exists() && !bed.root().join("tmp/evil").exists(), "its code was run");
    let unknown = [("-- chrootx", "--user nobody-has-this-name")];
    assert_eq!(run(&mut bed.changed(&[], &unknown, &["/bin/true"])).status, 125);
    assert!(!mark.exists(), "its code was run");
    Ok(())
}
