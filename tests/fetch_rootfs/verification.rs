//! Digests, lists of digests, signatures: nothing appears that is not verified.

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Ran, TempDir, Test, need_program, run, scratch};

use crate::server::Server;
use crate::{compressed, fetch, large, names};

/// An archive and everything that a maker may publish beside it.
pub fn published() -> Result<TempDir, support::Skip> {
    need_program("gpg")?;
    need_program("gpgv")?;
    let folder = scratch();
    fs::write(folder.path().join("a b.tar.gz"), compressed("gzip", &large())?).expect("our own");
    let make = "cd \"$1\"; export GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg; exec 2>/dev/null
        key() { gpg --batch --passphrase '' --quick-gen-key \"$1\" ed25519 sign 1d; gpg --export \"$1\" >$1.gpg; }
        sign() { gpg --batch --local-user \"$1\" --detach-sign \"$3\" --output \"$4\" \"$2\"; }
        key maker; key other; gpg --export --armor maker >maker.asc
        sha256sum 'a b.tar.gz' >SHA256SUMS; sha512sum --binary 'a b.tar.gz' >SHA512SUMS
        cut -c1-64 SHA256SUMS >BARE; sha256sum <'a b.tar.gz' >STDIN
        printf '%s\\t%s\\n' \"$(cat BARE)\" 'a b.tar.gz' >TAB
        printf 'SHA256(%s)= %s\\n' 'a b.tar.gz' \"$(cat BARE)\" >OPENSSL
        sed 's/SHA/SHA2-/' OPENSSL >OPENSSL3; { printf '\\357\\273\\277'; cat TAB; } >MARKED
        sha256sum --tag 'a b.tar.gz' >BSD; md5sum 'a b.tar.gz' >MD5SUMS
        sed 's/^..../0000/' SHA256SUMS >WRONG; sed 's/a b/c/' SHA256SUMS >ELSE
        sign maker 'a b.tar.gz' --no-armor archive.sig; sign maker 'a b.tar.gz' --armor archive.asc
        sign other 'a b.tar.gz' --no-armor other.sig; sign maker SHA256SUMS --armor sums.asc
        gpg --batch --local-user maker --clearsign --output clear.asc SHA256SUMS
        cat other.sig archive.sig >both.sig; gpgconf --kill all";
    run(support::sh(make).arg(folder.path())).silent();
    Ok(folder)
}

/// Runs it in that folder, and says what came of it; the tree goes.
fn verify(folder: &Path, args: &[&str]) -> Ran {
    let ran = run(fetch().current_dir(folder).args(args).arg("root"));
    let appeared = folder.join("root").exists();
    assert_eq!(appeared, ran.status == 0, "{ran:?}");
    let left: Vec<_> = names(folder).into_iter().filter(|name| name.contains(".fetch-")).collect();
    assert!(left.is_empty(), "{left:?}");
    let _ = fs::remove_dir_all(folder.join("root"));
    ran
}

/// Runs the script that it would be.
fn script(folder: &Path, args: &[&str]) -> Ran {
    let script = run(fetch().current_dir(folder).arg("-n").args(args).arg("root")).silent();
    let ran = run(support::sh(&script).current_dir(folder));
    assert_eq!(folder.join("root").exists(), ran.status == 0, "{script}\n{ran:?}");
    let _ = fs::remove_dir_all(folder.join("root"));
    ran
}

pub const SOURCE: &str = "a b.tar.gz";

pub fn a_list_of_digests_is_read_in_each_form() -> Test {
    let folder = published()?;
    let folder = folder.path();
    for list in ["SHA256SUMS", "SHA512SUMS", "BSD", "TAB", "OPENSSL", "OPENSSL3", "MARKED"] {
        verify(folder, &["--checksums", list, SOURCE]).silent();
        script(folder, &["--checksums", list, SOURCE]).ok();
    }
    verify(folder, &["--checksums", "ELSE", "--name", "c.tar.gz", SOURCE]).silent();
    script(folder, &["--checksums", "ELSE", "--name", "c.tar.gz", SOURCE]).ok();
    for (list, parts) in [
        ("WRONG", &["its SHA-256 is", "not 0000", "do not use it"][..]),
        ("ELSE", &["\"a b.tar.gz\"", "\"ELSE\"", "not listed", "--name"]),
        ("BARE", &["without a name", "hint: if it is the archive's: --sha256 "]),
        ("STDIN", &["without a name", "hint: if it is the archive's: --sha256 "]),
        ("MD5SUMS", &["neither SHA-256 nor SHA-512"]),
        ("none", &["\"none\"", "(ENOENT)"]),
    ] {
        verify(folder, &["--checksums", list, SOURCE]).fails(1, "fetch-rootfs", parts);
        if list != "none" {
            assert_ne!(script(folder, &["--checksums", list, SOURCE]).status, 0, "{list}");
        }
    }
    let sum = fs::read_to_string(folder.join("SHA512SUMS")).expect("made above");
    let sum = sum.split(' ').next().unwrap_or_default().to_owned();
    verify(folder, &["--sha512", &sum, SOURCE]).silent();
    script(folder, &["--sha512", &sum, SOURCE]).ok();
    let wrong = sum.replace(|digit: char| digit.is_ascii_hexdigit(), "0");
    verify(folder, &["--sha512", &wrong, SOURCE]).fails(1, "fetch-rootfs", &["its SHA-512 is"]);
    assert_ne!(script(folder, &["--sha512", &wrong, SOURCE]).status, 0);
    verify(folder, &["--sha512", "12", SOURCE]).fails(2, "fetch-rootfs", &["not 128 hexadecimal"]);
    verify(folder, &["--name", "x", SOURCE]).fails(2, "fetch-rootfs", &["--checksums"]);
    Ok(())
}

/// From a file, and as it streams by; whose length nobody tells, can't be compared.
pub fn what_git_calls_a_file_is_compared() -> Test {
    need_program("git")?;
    let folder = published()?;
    let folder = folder.path();
    let id = run(Command::new("git").arg("hash-object").arg(folder.join(SOURCE))).silent();
    let server = Server::start(fs::read(folder.join(SOURCE)).expect("made above"));
    let (url, chunked) = (server.url("tagged"), server.url("chunked"));
    for source in [SOURCE, &url] {
        verify(folder, &["--git-blob", id.trim(), source]).silent();
        script(folder, &["--git-blob", id.trim(), source]).ok();
        let wrong = ["--git-blob", &"0".repeat(40), source];
        verify(folder, &wrong).fails(1, "fetch-rootfs", &["its git blob id is", id.trim()]);
        assert_ne!(script(folder, &wrong).status, 0);
    }
    // Standard input may be a file, of which something was read before.
    let script =
        "cat before \"$3\" >both; { head -c 3 >/dev/null; \"$1\" --git-blob \"$2\" - root; } <both";
    fs::write(folder.join("before"), "abc").expect("our own folder");
    let mut redirected = support::sh(script);
    redirected.current_dir(folder).arg(fetch().get_program()).args([id.trim(), SOURCE]);
    run(&mut redirected).silent();
    fs::remove_dir_all(folder.join("root")).expect("it was made");
    let mut piped = support::sh("cat \"$3\" | \"$1\" --git-blob \"$2\" - root");
    piped.current_dir(folder).arg(fetch().get_program()).args([id.trim(), SOURCE]);
    run(&mut piped).fails(1, "fetch-rootfs", &["nobody tells the archive's length"]);
    let unknown = verify(folder, &["--git-blob", id.trim(), &chunked]);
    unknown.fails(1, "fetch-rootfs", &["nobody tells the archive's length", "hint: "]);
    Ok(())
}

pub fn a_signature_is_of_the_list_or_of_the_archive() -> Test {
    let folder = published()?;
    let folder = folder.path();
    let by = |keyring, signature| ["--keyring", keyring, "--signature", signature, SOURCE];
    for signature in ["archive.sig", "archive.asc", "both.sig"] {
        verify(folder, &by("maker.gpg", signature)).silent();
    }
    script(folder, &by("maker.gpg", "archive.asc")).ok();
    for (keyring, signature, parts) in [
        ("maker.gpg", "other.sig", &["a key that the keyring does not have"][..]),
        ("maker.gpg", "sums.asc", &["the archive", "not of these bytes"]),
        ("maker.asc", "archive.sig", &["gpg --dearmor"]),
        ("maker.gpg", "SHA256SUMS", &["verify the signature of the archive"]),
        ("maker.gpg", "clear.asc", &["not a detached signature", "hint: ", "--output LIST FILE"]),
        ("none.gpg", "archive.sig", &["\"none.gpg\"", "(ENOENT)"]),
    ] {
        verify(folder, &by(keyring, signature)).fails(1, "fetch-rootfs", parts);
    }
    assert_ne!(script(folder, &by("maker.gpg", "other.sig")).status, 0);
    let listed = |signature| {
        ["--checksums", "SHA256SUMS", "--keyring", "maker.gpg", "--signature", signature, SOURCE]
    };
    verify(folder, &listed("sums.asc")).silent();
    script(folder, &listed("sums.asc")).ok();
    verify(folder, &listed("archive.sig")).fails(1, "fetch-rootfs", &["\"SHA256SUMS\"", "not of"]);
    assert_ne!(script(folder, &listed("archive.sig")).status, 0);
    let alone = ["--signature", "archive.sig", SOURCE];
    verify(folder, &alone).fails(2, "fetch-rootfs", &["--keyring"]);
    let mut without = fetch();
    without
        .current_dir(folder)
        .args(by("maker.gpg", "archive.sig"))
        .arg("root")
        .env("PATH", "/none");
    run(&mut without).fails(1, "fetch-rootfs", &["\"gpgv\"", "hint: apt-get install gpgv"]);
    Ok(())
}

/// All of it from a server: list, signature and archive; and once more without it.
pub fn what_goes_with_an_archive_may_be_far_away() -> Test {
    let folder = published()?;
    let folder = folder.path();
    let serve = |name: &str| Server::start(fs::read(folder.join(name)).expect("made above"));
    let (archive, list, signature) = (serve(SOURCE), serve("SHA256SUMS"), serve("sums.asc"));
    let (source, list_url) = (archive.url("tagged"), list.url("tagged"));
    let signature_url = signature.url("tagged");
    let args = [
        "--cache-dir",
        "cache",
        "--header",
        "X-Token: secret",
        "--name",
        "a b.tar.gz",
        "--checksums",
        &list_url,
        "--signature",
        &signature_url,
        "--keyring",
        "maker.gpg",
        &source,
    ];
    verify(folder, &args).silent();
    assert_eq!(archive.requests()[0].header("x-token"), Some("secret"));
    for other in [&list, &signature] {
        assert_eq!(other.requests()[0].header("x-token"), None, "it is another server");
    }
    script(folder, &args).ok();
    for server in [&archive, &list, &signature] {
        server.requests();
    }
    let offline: Vec<&str> = ["--offline"].into_iter().chain(args).collect();
    verify(folder, &offline).silent();
    script(folder, &offline).ok();
    for server in [&archive, &list, &signature] {
        assert!(server.requests().is_empty());
    }
    let wrong = serve("WRONG");
    let wrong_url = wrong.url("tagged");
    let args = ["--cache-dir", "other", "--name", "a b.tar.gz", "--checksums", &wrong_url, &source];
    verify(folder, &args).fails(1, "fetch-rootfs", &["its SHA-256 is"]);
    assert_eq!(names(&folder.join("other/sha256")), [""; 0], "what is wrong is not kept");
    Ok(())
}

pub fn a_summary_is_one_object() -> Test {
    let folder = published()?;
    let folder = folder.path();
    let ran = run(fetch().current_dir(folder).args(["--json", SOURCE, "root"])).silent();
    let sum = run(Command::new("sha256sum").arg(folder.join(SOURCE))).silent();
    let sum = sum.split(' ').next().unwrap_or_default();
    let size = fs::metadata(folder.join(SOURCE)).expect("made above").len();
    let root = fs::canonicalize(folder).expect("it is there").join("root");
    for part in [
        format!("\"digest\":\"sha256:{sum}\""),
        format!("\"bytes\":{size}"),
        "\"entries\":3".into(),
        "\"url\":null".into(),
        format!("\"source\":\"{SOURCE}\""),
        format!("\"dir\":{:?}", root.display().to_string()),
        "\"seconds\":0.".into(),
    ] {
        assert!(ran.contains(&part), "{part}: {ran}");
    }
    assert!(ran.starts_with('{') && ran.ends_with("}\n") && ran.lines().count() == 1, "{ran}");
    fs::remove_dir_all(folder.join("root")).expect("it was made");
    assert!(script(folder, &["--json", SOURCE]).ok().contains("\"dir\":"));
    Ok(())
}
