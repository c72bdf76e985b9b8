//! Black-box tests of fetch-rootfs: real archives, a server on loopback, and archives that mean
//! harm.

#[path = "fetch_rootfs/archive.rs"]
mod archive;
#[path = "fetch_rootfs/caching.rs"]
mod caching;
#[path = "fetch_rootfs/downloads.rs"]
mod downloads;
#[path = "fetch_rootfs/formats.rs"]
mod formats;
#[path = "fetch_rootfs/generated.rs"]
mod generated;
#[path = "fetch_rootfs/hostile.rs"]
mod hostile;
#[path = "fetch_rootfs/image.rs"]
mod image;
#[path = "fetch_rootfs/layers.rs"]
mod layers;
#[path = "fetch_rootfs/oci.rs"]
mod oci;
#[path = "fetch_rootfs/registry.rs"]
mod registry;
#[path = "fetch_rootfs/registry_server.rs"]
mod registry_server;
#[path = "fetch_rootfs/server.rs"]
mod server;
#[path = "fetch_rootfs/sources.rs"]
mod sources;
#[path = "fetch_rootfs/verification.rs"]
mod verification;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use archive::{Archive, Head};
use server::Server;
use support::{Ran, Test, need_program, need_root, run, run_with_input, scratch};

support::tests!(
    published_archives_are_extracted_as_tar_does,
    debians_minbase_is_extracted_as_tar_does,
    every_compression_is_told_by_content,
    every_kind_of_entry_is_kept,
    sparse_files_keep_their_holes,
    formats::cpio_archives_are_extracted_as_cpio_does,
    formats::several_cpio_archives_are_one,
    formats::attributes_and_lists_come_from_tar_and_libarchive,
    formats::nothing_is_inherited_from_the_folder_above,
    formats::global_headers_speak_of_all_that_follows,
    formats::where_tar_guesses_it_is_refused,
    formats::what_the_oldest_tars_wrote_is_read,
    formats::a_name_cut_off_behind_a_slash_is_no_folder,
    formats::entries_are_chosen_as_tar_chooses_them,
    formats::names_are_listed_as_tar_lists_them,
    formats::owners_are_kept_or_me,
    formats::cpio_entries_that_make_no_sense_are_refused,
    generated::two_hundred_trees_are_extracted_as_tar_does,
    standard_input_is_a_source,
    sources::a_url_is_a_source,
    sources::a_server_that_fails_is_told_in_a_line,
    downloads::a_download_that_breaks_off_at_any_tenth_goes_on,
    downloads::a_server_without_ranges_is_read_from_the_start,
    downloads::a_file_that_changes_meanwhile_is_no_file,
    downloads::a_busy_server_is_asked_again_and_not_for_ever,
    downloads::a_secret_is_told_to_one_server_only,
    downloads::a_proxy_is_taken_from_the_environment,
    downloads::https_trusts_the_system_and_whom_it_is_told,
    caching::a_second_fetch_asks_whether_it_has_changed,
    caching::what_is_cached_needs_no_network,
    caching::a_damaged_file_of_the_cache_is_found_and_removed,
    caching::two_fetches_share_a_cache_at_once,
    caching::a_run_killed_at_any_moment_leaves_nothing_that_hurts,
    caching::an_interrupted_run_leaves_no_half_file,
    caching::a_full_disk_is_told_and_leaves_nothing,
    caching::errors_and_short_reads_of_the_kernel_are_borne,
    caching::a_cache_that_others_can_write_is_not_used,
    verification::a_list_of_digests_is_read_in_each_form,
    verification::what_git_calls_a_file_is_compared,
    verification::a_signature_is_of_the_list_or_of_the_archive,
    verification::what_goes_with_an_archive_may_be_far_away,
    verification::a_summary_is_one_object,
    sources::progress_is_for_terminals,
    sources::the_catalogue_knows_where_things_are,
    sources::a_wrong_checksum_leaves_nothing,
    what_is_no_archive_is_told_by_what_it_is,
    sources::a_signal_leaves_nothing_and_is_told_by_the_status,
    sources::a_killed_run_is_cleared_away_by_the_next,
    hostile::hostile_names_stay_inside,
    hostile::hostile_links_stay_inside,
    hostile::damaged_archives_are_refused,
    hostile::bombs_are_refused_at_once,
    hostile::hostile_maps_of_holes_are_refused,
    hostile::limits_name_the_option_that_raises_them,
    layers::layers_add_replace_and_take_away,
    layers::a_whiteout_takes_only_what_is_from_below,
    layers::a_folder_that_no_layer_names_keeps_its_time,
    layers::whiteouts_that_mean_harm_are_refused_or_stay_inside,
    layers::what_aufs_left_is_passed_over,
    layers::thousands_of_whiteouts_take_linear_time,
    layers::a_user_gets_layers_into_folders_that_are_closed,
    layers::a_folder_named_through_a_link_gets_its_attributes,
    layers::limits_are_for_all_layers_together,
    oci::umoci_makes_the_same_tree_of_a_layout,
    oci::every_form_of_an_image_is_told_by_content,
    oci::layers_of_every_type_are_taken,
    oci::the_machine_s_image_is_chosen_or_the_one_asked_for,
    oci::an_image_of_several_is_chosen_by_its_name,
    oci::an_image_that_is_not_what_its_digests_say_is_refused,
    oci::images_that_mean_harm_are_refused,
    oci::a_layout_s_links_stay_in_it,
    oci::the_scripts_for_images_and_layers_do_the_same,
    oci::a_script_fails_where_a_command_in_it_fails,
    registry::an_image_comes_from_a_registry,
    registry::credentials_go_to_the_registry_and_its_tokens_alone,
    registry::a_registry_that_fails_for_a_while_is_asked_again,
    registry::a_registry_that_fails_or_means_harm_is_told_in_a_line,
    registry::layers_come_at_the_same_time,
    registry::a_pull_that_is_ended_leaves_nothing,
    registry::a_pull_that_is_killed_is_cleared_away_by_the_next,
    registry::skopeo_and_umoci_make_the_same_tree_of_a_pull,
    links_within_the_root_lead_where_they_lead_inside,
    a_deep_tree_takes_linear_time,
    a_user_gets_what_a_user_can_have,
    wrong_usage_is_one_line,
    the_dry_run_script_does_the_same,
    a_dry_run_changes_nothing,
);

/// Without a home, it has neither a cache of its own choice nor a .netrc.
fn fetch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fetch-rootfs"));
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("NETRC");
    command
}

/// Runs it on an archive given by standard input, into `root` of the folder.
fn extract(folder: &Path, archive: &[u8], options: &[&str]) -> Ran {
    run_with_input(fetch().args(options).arg("-").arg(folder.join("root")), archive)
}

/// All that can be seen of a tree: names, types, modes, owners, sizes, link counts, times, link
/// targets, devices, contents, extended attributes.
fn fingerprint(root: &Path) -> String {
    let script =
        "cd \"$1\"; find . -printf '%p %y %m %U %G %n %T@ %l' \\( -type f -printf ' %s' -o \
        -true \\) -printf '\\n' | sort; find . -type f -exec sha256sum {} + | sort
        find . \\( -type c -o -type b \\) -exec stat -c '%n %t %T' {} + | sort
        getfattr -Rhd -m- . 2>/dev/null || true";
    run(support::sh(script).arg(root)).silent()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const PUBLISHED: [&str; 3] = [
    "alpine-minirootfs-3.20.3-x86_64.tar.gz",
    "busybox-stable-musl-x86_64.tar.xz",
    "almalinux-9-micro-aarch64.tar.xz",
];

fn published_archives_are_extracted_as_tar_does() -> Test {
    need_root()?;
    for name in PUBLISHED {
        let (file, folder) = (support::archive(name)?, scratch());
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        fs::create_dir(&theirs).expect("our own folder");
        let printed = run(fetch().arg(&file).arg(&ours)).silent();
        assert_eq!(printed, format!("{}\n", ours.display()));
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"]).arg(&file);
        run(tar.arg("-C").arg(&theirs)).silent();
        // Where an archive says nothing of its top, that is as new as the run.
        for root in [&ours, &theirs] {
            run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
        }
        assert_eq!(fingerprint(&ours), fingerprint(&theirs), "{name}");
        assert_eq!(names(folder.path()), ["ours", "theirs"]);
    }
    Ok(())
}

/// Eight thousand files with capabilities, devices and all; as it is, and in blocks that are
/// decoded at once.
fn debians_minbase_is_extracted_as_tar_does() -> Test {
    need_root()?;
    need_program("mmdebstrap")?;
    let folder = scratch();
    let (file, theirs) = (folder.path().join("a.tar"), folder.path().join("theirs"));
    // Of this machine's own release, which it has the keys of.
    let script = ". /etc/os-release; mmdebstrap --quiet --variant=minbase $VERSION_CODENAME \"$1\"";
    let made = support::sh(script).arg(&file).output().expect("a shell");
    if !made.status.success() {
        return Err(support::skip("mmdebstrap could not make it: is there a mirror?"));
    }
    fs::create_dir(&theirs).expect("our own folder");
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"]).arg(&file);
    run(tar.arg("-C").arg(&theirs)).silent();
    let wanted = fingerprint(&theirs);
    let blocks = folder.path().join("a.tar.xz");
    let pack = "xz -1 -T2 --block-size=16MiB -c \"$1\" >\"$2\"";
    run(support::sh(pack).arg(&file).arg(&blocks)).silent();
    for archive in [&file, &blocks] {
        let ours = folder.path().join("ours");
        run(fetch().arg(archive).arg(&ours)).silent();
        assert!(fingerprint(&ours) == wanted, "{archive:?}");
        run(Command::new("rm").arg("-r").arg(ours)).silent();
    }
    Ok(())
}

fn small() -> Vec<u8> {
    Archive::default().folder("etc/").file("etc/hostname", "box\n").end()
}

/// Through the compressing program of that name.
fn compressed(program: &str, data: &[u8]) -> Result<Vec<u8>, support::Skip> {
    need_program(program)?;
    let folder = scratch();
    let file = folder.path().join("x");
    fs::write(&file, data).expect("our own folder");
    let out = Command::new(program).arg("-c").arg(&file).output().expect("it is installed");
    assert!(out.status.success());
    Ok(out.stdout)
}

fn every_compression_is_told_by_content() -> Test {
    for program in ["cat", "gzip", "xz", "zstd", "bzip2", "lz4"] {
        let folder = scratch();
        let file = folder.path().join("misleading.zip");
        let data = match program {
            "cat" => small(),
            program => compressed(program, &small())?,
        };
        // Two members, or frames, or streams, one behind the other, are one archive.
        let halves = match program {
            "cat" => vec![data.clone()],
            program => {
                vec![compressed(program, &small()[..700])?, compressed(program, &small()[700..])?]
            }
        };
        for data in [data, halves.concat()] {
            fs::write(&file, data).expect("our own folder");
            let root = folder.path().join("root");
            run(fetch().arg(&file).arg(&root)).silent();
            assert_eq!(fs::read(root.join("etc/hostname")).expect(program), b"box\n");
            fs::remove_dir_all(root).expect("our own folder");
        }
    }
    Ok(())
}

/// Everything that a root file system has, by GNU tar, there and back.
fn every_kind_of_entry_is_kept() -> Test {
    need_root()?;
    need_program("setfattr")?;
    let folder = scratch();
    let make = "cd \"$1\"; umask 0; mkdir -p t/d/e t/sticky t/none; cd t
        echo x >f; chmod 4755 f; ln f hard; ln -s f sym; ln -s /nowhere dangling; mkfifo -m 640 fifo
        mknod -m 666 null c 1 3; mknod disk b 7 9; echo y >d/e/g; chown 123:456 d/e/g; chown -h 7:8 sym
        chmod 1777 sticky; chmod 000 none; chmod 0555 d; setfattr -n user.note -v hello f
        setfattr -n user.note -v dir d; truncate -s 3000 hole; chmod 6711 d/e/g; touch 'a b
c'
        name=$(printf %0120d 7); mkdir -p $name/$name; echo long >$name/$name/$name; ln -s $name/$name/$name l
        find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +";
    run(support::sh(make).arg(folder.path())).silent();
    if let Ok(setcap) = need_program("setcap") {
        let file = folder.path().join("t/hard");
        run(Command::new(setcap).arg("cap_net_raw+ep").arg(file)).silent();
    }
    let original = folder.path().join("t");
    for format in ["gnu", "posix"] {
        let (file, root) = (folder.path().join("a.tar"), folder.path().join("root"));
        let mut tar = Command::new("tar");
        if format == "posix" {
            tar.args(["--xattrs", "--xattrs-include=*"]);
        }
        tar.args(["--format", format, "-cf"]);
        run(tar.arg(&file).arg("-C").arg(&original).arg(".")).silent();
        // Through a umask that would take bits away.
        let script = "umask 077; exec \"$1\" \"$2\" \"$3\"";
        let ours = env!("CARGO_BIN_EXE_fetch-rootfs");
        run(support::sh(script).arg(ours).arg(&file).arg(&root)).silent();
        let (mut wanted, mut got) = (fingerprint(&original), fingerprint(&root));
        if format == "gnu" {
            // Its times are whole seconds, and it has no place for attributes.
            let plain = |text: &str| {
                let lines = text.split("# file:").next().unwrap_or_default();
                lines.trim_end().replace(".1234567890", ".0000000000")
            };
            (wanted, got) = (plain(&wanted), plain(&got));
        }
        assert_eq!(got, wanted, "{format}");
        fs::remove_dir_all(root).expect("our own folder");
    }
    Ok(())
}

/// In every form that GNU tar has for them; more parts than fit into a header.
fn sparse_files_keep_their_holes() -> Test {
    let folder = scratch();
    let name = "n".repeat(120);
    let make = "cd \"$1\"; mkdir t; truncate -s 50M t/f; printf start | dd of=t/f conv=notrunc status=none
        for at in $(seq 1 40); do printf $at | dd of=t/f bs=1M seek=$at conv=notrunc status=none; done
        truncate -s 9000 t/empty; cp --sparse=always t/f t/$2; printf end >>t/$2";
    run(support::sh(make).arg(folder.path()).arg(&name)).silent();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let (file, root) = (folder.path().join("a.tar"), folder.path().join("root"));
        let mut tar = Command::new("tar");
        tar.args(["--sparse", "-cf"]).arg(&file).args(format);
        run(tar.arg("-C").arg(folder.path().join("t")).arg(".")).silent();
        assert!(fs::metadata(&file).expect("made above").len() < 1 << 20, "{format:?}");
        run(fetch().arg(&file).arg(&root)).silent();
        assert_eq!(names(&root), ["empty", "f", &name], "{format:?}");
        for file in ["f", "empty", &name] {
            let (wanted, got) = (folder.path().join("t").join(file), root.join(file));
            let (wanted, about) = (fs::read(&wanted), fs::metadata(&got));
            assert!(wanted.ok() == fs::read(&got).ok(), "{format:?} {file}");
            assert!(about.expect("it is there").blocks() * 512 < 1 << 20, "{format:?} {file}");
        }
        fs::remove_dir_all(root).expect("our own folder");
    }
    Ok(())
}

fn standard_input_is_a_source() -> Test {
    let folder = scratch();
    let root = folder.path().join("root");
    let printed = extract(folder.path(), &compressed("gzip", &small())?, &[]).silent();
    assert_eq!(printed, format!("{}\n", root.display()));
    assert_eq!(names(&root), ["etc"]);
    fs::remove_dir_all(&root).expect("our own folder");
    fs::create_dir(&root).expect("our own folder");
    extract(folder.path(), &small(), &[]).silent();
    assert_eq!(names(&root), ["etc"], "an empty directory is taken");
    Ok(())
}

/// Random bytes don't compress: the archive is long enough to be cut in two.
fn large() -> Vec<u8> {
    let mut state = 1u32;
    let noise: Vec<u8> = (0..200_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24).to_le_bytes()[0]
        })
        .collect();
    Archive::default().folder("etc/").with_data(b'0', "noise", &noise).file("last", "x").end()
}

fn what_is_no_archive_is_told_by_what_it_is() -> Test {
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"<!DOCTYPE html><title>Sign in</title>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:x\n", "git-lfs"),
        (b"PK\x03\x04rest", "a zip archive"),
        (&[b'x'; 2000], "no tar archive"),
    ] {
        let folder = scratch();
        extract(folder.path(), bytes, &[]).fails(1, "fetch-rootfs", &[why, "hint: "]);
        assert!(names(folder.path()).is_empty());
    }
    Ok(())
}

/// A root with merged /usr: what an entry's name leads through is resolved as inside the root.
fn links_within_the_root_lead_where_they_lead_inside() -> Test {
    for target in ["usr/bin", "/usr/bin", "../../usr/bin"] {
        let folder = scratch();
        let archive = Archive::default()
            .folder("usr/")
            .folder("usr/bin/")
            .symlink("bin", target)
            .folder("bin/")
            .file("bin/tool", "x")
            .hard_link("bin/same", "bin/tool")
            .end();
        extract(folder.path(), &archive, &[]).silent();
        let root = folder.path().join("root");
        assert!(fs::symlink_metadata(root.join("bin")).expect("it is there").is_symlink());
        assert_eq!(names(&root.join("usr/bin")), ["same", "tool"], "{target}");
    }
    // A folder that the archive has forgotten.
    let folder = scratch();
    extract(folder.path(), &Archive::default().file("a/b/c", "x").end(), &[]).silent();
    let made = fs::metadata(folder.path().join("root/a/b")).expect("it was made");
    assert_eq!(made.permissions().mode() & 0o7777, 0o755);
    Ok(())
}

fn a_deep_tree_takes_linear_time() -> Test {
    let deep = |depth: usize| {
        let mut archive = Archive::default();
        for level in 1..=depth {
            let name = "d/".repeat(level);
            archive = if name.len() > 99 { archive.long_name(&name) } else { archive };
            archive = archive.folder(&name[..name.len().min(99)]);
        }
        archive.end()
    };
    let start = Instant::now();
    let folder = scratch();
    extract(folder.path(), &deep(2000), &[]).silent();
    let root = folder.path().join("root");
    let count = run(Command::new("find").arg(&root)).silent().lines().count();
    assert_eq!(count, 2001);
    run(Command::new("rm").arg("-rf").arg(&root)).silent();
    // The same, and then an error: what was made has to go again.
    let mut broken = deep(2000);
    broken.truncate(broken.len() - 1024);
    extract(folder.path(), &broken, &[]).fails(1, "fetch-rootfs", &["ends too early"]);
    assert!(names(folder.path()).is_empty());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    Ok(())
}

fn a_user_gets_what_a_user_can_have() -> Test {
    need_root()?;
    let folder = scratch();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("our own folder");
    let as_nobody = |archive: &[u8], options: &[&str]| {
        let mut command = fetch();
        command.args(options).arg("-").arg(folder.path().join("root")).uid(65534).gid(65534);
        run_with_input(&mut command, archive)
    };
    let device = Archive::default().folder("dev/").device("dev/null", 1, 3).file("f", "x").end();
    as_nobody(&device, &[]).fails(
        1,
        "fetch-rootfs",
        &["\"dev/null\"", "(EPERM)", "--skip-devices"],
    );
    assert!(names(folder.path()).is_empty());
    as_nobody(&device, &["--skip-devices"]).silent();
    assert_eq!(names(&folder.path().join("root")), ["dev", "f"]);
    fs::remove_dir_all(folder.path().join("root")).expect("we are root");
    let suid = Head { mode: 0o6755, ..Head::new(b'0', "su") };
    let closed = Head { mode: 0o000, ..Head::new(b'5', "closed/") };
    let archive = Archive::default().head(&suid).head(&closed).file("closed/in", "x").end();
    as_nobody(&archive, &[]).silent();
    let mode = |name: &str| {
        let about = fs::symlink_metadata(folder.path().join("root").join(name)).expect(name);
        (about.permissions().mode() & 0o7777, about.uid())
    };
    assert_eq!((mode("su"), mode("closed")), ((0o755, 65534), (0o000, 65534)));
    fs::remove_dir_all(folder.path().join("root")).expect("we are root");
    // And a failure behind a folder that its owner can't enter.
    let broken = Archive::default().head(&closed).file("closed/in", "x").unfinished();
    as_nobody(&broken, &[]).fails(1, "fetch-rootfs", &["ends too early"]);
    assert!(names(folder.path()).is_empty());
    Ok(())
}

fn wrong_usage_is_one_line() -> Test {
    let folder = scratch();
    let inside = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(inside("full")).expect("our own folder");
    fs::write(inside("full/x"), "").expect("our own folder");
    fs::write(inside("good.tar"), small()).expect("our own folder");
    symlink(inside("full"), inside("link")).expect("our own folder");
    let (good, new, full) = (inside("good.tar"), inside("new"), inside("full"));
    let (link, nowhere) = (inside("link"), inside("no/such/place"));
    let (good, new) = (good.as_str(), new.as_str());
    for (args, status, parts) in [
        (vec![] as Vec<&str>, 2, &["required arguments", "hint: "][..]),
        (vec![good], 2, &["<DIR>"]),
        (vec!["--bogus", good, new], 2, &["unexpected argument '--bogus'"]),
        (vec!["", new], 2, &["it is empty", "hint: "]),
        (vec!["ftp://host/x", new], 2, &["ftp is not known", "hint: "]),
        (vec!["--sha256", "12", good, new], 2, &["not 64 hexadecimal digits", "hint: "]),
        (vec!["--max-size", "10X", good, new], 2, &["\"10X\""]),
        (vec!["host:no-such-program", new], 2, &["\"no-such-program\""]),
        (vec!["/no/such.tar", new], 1, &["\"/no/such.tar\"", "(ENOENT)"]),
        (vec![good, "/"], 2, &["no name of its own"]),
        (vec![good, &full], 1, &["(ENOTEMPTY)", "hint: "]),
        (vec![good, good], 1, &["(EEXIST)", "no directory"]),
        (vec![good, &link], 1, &["(EEXIST)"]),
        (vec![good, &nowhere], 1, &["(ENOENT)", "hint: mkdir -p"]),
    ] {
        let before = fingerprint(folder.path());
        run(fetch().args(&args)).fails(status, "fetch-rootfs", parts);
        assert_eq!(fingerprint(folder.path()), before, "{args:?}");
    }
    Ok(())
}

fn the_dry_run_script_does_the_same() -> Test {
    need_root()?;
    need_program("curl")?;
    let folder = scratch();
    let file = folder.path().join("a file.tar.gz");
    let packed = compressed("gzip", &large())?;
    let server = Server::start(packed.clone());
    fs::File::create(&file).and_then(|mut f| f.write_all(&packed)).expect("our own folder");
    let sum = run(Command::new("sha256sum").arg(&file)).silent();
    let sum = sum.split(' ').next().unwrap_or_default().to_owned();
    let (url, path) = (server.url("moved"), file.display().to_string());
    for source in [url.as_str(), &path, "-"] {
        let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
        let with = |dir: &Path, options: &[&str]| {
            run_with_input(fetch().args(options).args(["--sha256", &sum, source]).arg(dir), &packed)
        };
        with(&ours, &[]).silent();
        let script = with(&theirs, &["-n"]).silent();
        assert!(!theirs.exists(), "a dry run does nothing");
        let ran = run_with_input(&mut support::sh(&script), &packed);
        assert_eq!(ran.ok(), format!("{}\n", theirs.display()));
        for root in [&ours, &theirs] {
            run(Command::new("touch").args(["-d", "@0"]).arg(root)).silent();
        }
        assert_eq!(fingerprint(&ours), fingerprint(&theirs), "{source}");
        let wrong = script.replace(&sum, &"0".repeat(64));
        run(Command::new("rm").arg("-r").args([&ours, &theirs])).silent();
        assert_ne!(run_with_input(&mut support::sh(&wrong), &packed).status, 0);
        assert_eq!(names(folder.path()), ["a file.tar.gz"], "the script clears up, too");
    }
    Ok(())
}

fn a_dry_run_changes_nothing() -> Test {
    need_program("strace")?;
    let folder = scratch();
    let log = folder.path().join("log");
    let file = folder.path().join("a.tar");
    fs::write(&file, small()).expect("our own folder");
    let calls = "trace=mkdir,mkdirat,rename,renameat2,unlink,unlinkat,symlinkat,linkat,mknodat,fchown,\
        fchmod,clone,clone3,fork,vfork,connect,execve";
    let mut command = Command::new("strace");
    command.args(["-f", "-e", calls, "-o"]).arg(&log).arg(env!("CARGO_BIN_EXE_fetch-rootfs"));
    run(command.arg("-n").arg(&file).arg(folder.path().join("root"))).silent();
    let calls = fs::read_to_string(log).expect("strace wrote it");
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
    assert!(matches!(calls.as_slice(), [start] if start.contains("execve")), "{calls:?}");
    Ok(())
}
