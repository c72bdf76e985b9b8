//! Passwords that a program knows, and tokens instead of passwords.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use support::{Ran, TempDir, Test, run, scratch};

use crate::fetch;
use crate::registry::{shop, without_credentials};
use crate::registry_server::{Auth, Fault, PASSWORD, Registry};

/// A helper in a PATH of its own, which notes what it is asked.
fn with(registry: &Registry, folder: &TempDir, config: &Value, script: &str) -> Ran {
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("bin")).expect("our own folder");
    fs::create_dir_all(at(".docker")).expect("our own folder");
    fs::write(at(".docker/config.json"), config.to_string()).expect("our own folder");
    let helper = at("bin/docker-credential-test");
    let start = "#!/bin/sh\nread -r server; echo \"$1 $server\" >>\"$HOME/asked\"\n";
    fs::write(&helper, format!("{start}{script}\n")).expect("our own folder");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).expect("our own file");
    let path = format!("{}:/usr/bin:/bin", at("bin").display());
    let mut command = fetch();
    command.args(["--no-cache", &registry.name("team/box")]).arg(at("root"));
    let ran = run(without_credentials(&mut command, folder.path()).env("PATH", path));
    let _ = fs::remove_dir_all(at("root"));
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
    assert!(!ran.stderr.contains(PASSWORD), "{ran:?}");
    ran
}

fn asked(folder: &Path) -> String {
    let asked = fs::read_to_string(folder.join("asked")).unwrap_or_default();
    let _ = fs::remove_file(folder.join("asked"));
    asked
}

pub fn a_helper_is_asked_for_a_password() -> Test {
    let good = r#"echo '{"ServerURL": "", "Username": "me", "Secret": "secret"}'"#;
    for auth in [Auth::Basic, Auth::TokenForPassword] {
        let (folder, (registry, _)) = (scratch(), shop(auth, Fault::Nothing));
        let host = registry.address.clone();
        for config in [
            json!({"credHelpers": {host.clone(): "test"}}),
            json!({"credsStore": "test", "auths": {host.clone(): {}}}),
        ] {
            with(&registry, &folder, &config, good).silent();
            assert_eq!(asked(folder.path()), format!("get {host}\n"), "once");
        }
        let config = json!({"credsStore": "test"});
        for (script, part) in [
            ("echo credentials not found; exit 1", "exit status: 1"),
            ("echo '{\"Username\": \"secret\"'", "it answers otherwise"),
            ("exec cat /dev/zero", "(SIGPIPE)"),
            (r#"echo '{"Username": "me", "Secret": "no secret"}'"#, "is not enough"),
        ] {
            let ran = with(&registry, &folder, &config, script);
            ran.fails(1, "fetch-rootfs", &["401", "hint: ", part, "skopeo login"]);
        }
        let ran = with(&registry, &folder, &json!({"credsStore": "/../x"}), good);
        ran.fails(1, "fetch-rootfs", &["401", "its name is that of no helper"]);
    }
    // Nobody is asked where nobody wants to know.
    let (folder, (registry, _)) = (scratch(), shop(Auth::Nothing, Fault::Nothing));
    with(&registry, &folder, &json!({"credsStore": "test"}), good).silent();
    assert_eq!(asked(folder.path()), "");
    // And what is public is public, whatever the helper says.
    let (registry, _) = shop(Auth::Token, Fault::Nothing);
    with(&registry, &folder, &json!({"credsStore": "test"}), "exit 1").silent();
    Ok(())
}

/// It is posted, so that no log of a server has it.
pub fn an_identity_token_is_given_for_a_token() -> Test {
    let auth = Auth::TokenForToken("refresh_token=the%20secret");
    let (folder, (registry, _)) = (scratch(), shop(auth, Fault::Nothing));
    let token = r#"echo '{"Username": "<token>", "Secret": "the secret"}'"#;
    let host = registry.address.clone();
    let kept = json!({"auths": {host: {"auth": "bWU6", "identitytoken": "the secret"}}});
    let by_helper = json!({"credsStore": "test"});
    for (config, times) in [(&kept, 0), (&by_helper, 1)] {
        with(&registry, &folder, config, token).silent();
        assert_eq!(asked(folder.path()).lines().count(), times);
    }
    for line in registry.log() {
        assert!(!line.contains("secret") && !line.contains("Basic"), "{line}");
    }
    let wrong = r#"echo '{"Username": "<token>", "Secret": "no secret"}'"#;
    let ran = with(&registry, &folder, &by_helper, wrong);
    ran.fails(1, "fetch-rootfs", &["get a token", "401", "is not enough"]);
    Ok(())
}
