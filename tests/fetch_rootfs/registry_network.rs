//! What registries are asked through, and how often: as it is with URLs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Ran, Test, need_program, run, scratch};

use crate::https_server::{self, Proxy};
use crate::image::{digest, gzip};
use crate::layers::three;
use crate::registry::{compare, pull, shop, without_credentials};
use crate::registry_server::{Auth, Fault};
use crate::{fetch, names};

pub fn retries_are_for_registries_too() -> Test {
    for (retries, busy, good) in [("0", 1, false), ("1", 1, true), ("1", 2, false), ("2", 2, true)]
    {
        let (folder, (registry, _)) = (scratch(), shop(Auth::Nothing, Fault::Busy(busy)));
        let ran = pull(&registry.name("box"), &folder, &["--retries", retries]);
        if good {
            ran.silent();
            compare(&folder);
        } else {
            ran.fails(1, "fetch-rootfs", &["503", "hint: the registry is in trouble"]);
            assert_eq!(registry.log().len(), retries.parse::<usize>().expect("a number") + 1);
            assert!(names(folder.path()).is_empty());
        }
    }
    // A blob that breaks off is tried so often, too.
    let (folder, (registry, _)) = (scratch(), shop(Auth::Nothing, Fault::Cut { always: false }));
    let ran = pull(&registry.name("box"), &folder, &["--retries", "0"]);
    ran.fails(1, "fetch-rootfs", &["the registry ends it after", "bytes"]);
    Ok(())
}

/// RFC 9110: what `Location` says may be relative. On the same server we are who we were.
pub fn a_registry_may_lead_elsewhere_by_a_relative_path() -> Test {
    let (folder, (registry, _)) = (scratch(), shop(Auth::Token, Fault::Moved));
    pull(&registry.name("team/box"), &folder, &[]).silent();
    compare(&folder);
    let log = registry.log();
    let moved = log.iter().filter(|line| line.starts_with("/v2/team/box/elsewhere/blobs/sha256:"));
    assert_eq!(moved.clone().count(), 4, "three layers and a configuration: {log:?}");
    assert!(moved.clone().all(|line| line.contains("Bearer")), "{log:?}");
    Ok(())
}

/// A registry by https with its own CA, which only a proxy knows the way to.
pub fn a_registry_is_reached_by_https_and_through_a_proxy() -> Test {
    need_program("openssl")?;
    let (folder, site) = (scratch(), scratch());
    let (registry, _) = shop(Auth::Nothing, Fault::Nothing);
    let port = https_server::start(site.path(), &registry.address);
    let proxy = Proxy::start(&format!("127.0.0.1:{port}"));
    let with = |variables: &[(&str, &str)]| {
        let mut command = fetch();
        for name in ["http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
            command.env_remove(name);
        }
        let ca = site.path().join("ca.pem");
        let command = without_credentials(&mut command, Path::new("/nowhere"));
        let command = command.env("https_proxy", &proxy.address).env("SSL_CERT_FILE", ca);
        let command =
            command.envs(variables.iter().copied()).args(["--no-cache", "--retries", "0"]);
        run(command.arg("docker://registry.test/team/box:1").arg(folder.path().join("root")))
    };
    with(&[]).silent();
    let asked = proxy.asked();
    assert!(asked.len() >= 6, "{asked:?}");
    assert!(asked.iter().all(|line| line.starts_with("CONNECT registry.test:443 ")), "{asked:?}");
    compare(&folder);
    let fails = |ran: Ran, parts: &[&str]| ran.fails(1, "fetch-rootfs", parts);
    fails(with(&[("SSL_CERT_FILE", "/nowhere")]), &["https://registry.test", "SSL_CERT_FILE"]);
    proxy.asked();
    fails(with(&[("NO_PROXY", "registry.test")]), &["registry.test", "hint: is the name right"]);
    let bad = "http://me:secret@127.0.0.1:1";
    let ran = with(&[("https_proxy", bad)]);
    assert!(!ran.stderr.contains("secret"), "{ran:?}");
    fails(ran, &["refused (ECONNREFUSED)"]);
    assert!(proxy.asked().is_empty());
    Ok(())
}

/// The bytes of all layers together, and the entries; on a terminal alone.
pub fn the_progress_of_a_pull_is_for_terminals() -> Test {
    need_program("script")?;
    let layers = three().map(|layer| gzip(&layer));
    let all = layers.iter().map(Vec::len).sum::<usize>();
    assert!((1024..2048).contains(&all), "shown as 1.N KiB: {all}");
    // The lowest is extracted before the others come.
    let slow = |at: usize, time| (digest(&layers[at]), Duration::from_millis(time));
    let slow = Fault::SlowSome(vec![slow(1, 300), slow(2, 600)]);
    for (options, shown) in [("", true), ("--quiet", false)] {
        let (folder, (registry, _)) = (scratch(), shop(Auth::Nothing, slow.clone()));
        let root = folder.path().join("root");
        let cache = folder.path().join("cache");
        let pull = || {
            let line = format!(
                "{} {options} --cache-dir {} {} {}",
                env!("CARGO_BIN_EXE_fetch-rootfs"),
                cache.display(),
                registry.name("box"),
                root.display()
            );
            let mut command = Command::new("script");
            let command = command.args(["-qec", &line, "/dev/null"]);
            let text = run(without_credentials(command, folder.path())).ok();
            fs::remove_dir_all(&root).expect("it was made");
            text
        };
        let text = pull();
        assert_eq!(text.contains(" KiB, ") && text.contains(" of 1."), shown, "{text:?}");
        assert_eq!(text.contains(" left, entry 1"), shown, "{text:?}");
        assert_eq!(text.contains("\r\x1b[K"), shown, "{text:?}");
        assert!(text.trim_end().ends_with("/root"), "{text:?}");
        // From the cache nothing has to come.
        assert!(!pull().contains(" of "));
    }
    Ok(())
}
