//! Black-box tests of fetch-rootfs: real archives, a server on loopback, and archives that mean
//! harm.

#[path = "fetch_rootfs/archive.rs"]
mod archive;
#[path = "fetch_rootfs/caching.rs"]
mod caching;
#[path = "fetch_rootfs/denied.rs"]
mod denied;
#[path = "fetch_rootfs/devices.rs"]
mod devices;
#[path = "fetch_rootfs/downloads.rs"]
mod downloads;
#[path = "fetch_rootfs/formats.rs"]
mod formats;
#[path = "fetch_rootfs/generated.rs"]
mod generated;
#[path = "fetch_rootfs/hostile.rs"]
mod hostile;
#[path = "fetch_rootfs/https_server.rs"]
mod https_server;
#[path = "fetch_rootfs/image.rs"]
mod image;
#[path = "fetch_rootfs/layers.rs"]
mod layers;
#[path = "fetch_rootfs/listing.rs"]
mod listing;
#[path = "fetch_rootfs/mapped.rs"]
mod mapped;
#[path = "fetch_rootfs/messages.rs"]
mod messages;
#[path = "fetch_rootfs/namespace.rs"]
mod namespace;
#[path = "fetch_rootfs/oci.rs"]
mod oci;
#[path = "fetch_rootfs/oci_hostile.rs"]
mod oci_hostile;
#[path = "fetch_rootfs/registry.rs"]
mod registry;
#[path = "fetch_rootfs/registry_caching.rs"]
mod registry_caching;
#[path = "fetch_rootfs/registry_helpers.rs"]
mod registry_helpers;
#[path = "fetch_rootfs/registry_network.rs"]
mod registry_network;
#[path = "fetch_rootfs/registry_server.rs"]
mod registry_server;
#[path = "fetch_rootfs/scarce.rs"]
mod scarce;
#[path = "fetch_rootfs/server.rs"]
mod server;
#[path = "fetch_rootfs/sources.rs"]
mod sources;
#[path = "fetch_rootfs/trees.rs"]
mod trees;
#[path = "fetch_rootfs/unusual.rs"]
mod unusual;
#[path = "fetch_rootfs/usage.rs"]
mod usage;
#[path = "fetch_rootfs/verification.rs"]
mod verification;

use std::fs;
use std::path::Path;
use std::process::Command;

use archive::Archive;
use support::{Ran, need_program, run, run_with_input, scratch};

support::tests!(
    trees::published_archives_are_extracted_as_tar_does,
    trees::debians_minbase_is_extracted_as_tar_does,
    trees::every_compression_is_told_by_content,
    trees::every_kind_of_entry_is_kept,
    trees::sparse_files_keep_their_holes,
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
    usage::standard_input_is_a_source,
    sources::a_url_is_a_source,
    sources::a_source_may_come_in_pieces_of_any_size,
    sources::what_is_no_port_is_refused,
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
    usage::what_is_no_archive_is_told_by_what_it_is,
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
    layers::a_layer_that_is_none_is_named,
    oci::umoci_makes_the_same_tree_of_a_layout,
    oci::every_form_of_an_image_is_told_by_content,
    oci::layers_of_every_type_are_taken,
    oci::the_machine_s_image_is_chosen_or_the_one_asked_for,
    oci::an_image_of_several_is_chosen_by_its_name,
    oci_hostile::an_image_that_is_not_what_its_digests_say_is_refused,
    oci_hostile::images_that_mean_harm_are_refused,
    oci_hostile::a_layout_s_links_stay_in_it,
    oci::the_scripts_for_images_and_layers_do_the_same,
    oci::a_script_fails_where_a_command_in_it_fails,
    registry::an_image_comes_from_a_registry,
    registry::credentials_go_to_the_registry_and_its_tokens_alone,
    registry::a_registry_that_fails_for_a_while_is_asked_again,
    registry::a_registry_that_fails_or_means_harm_is_told_in_a_line,
    registry::a_manifest_without_a_type_is_told_by_its_form,
    registry::layers_come_at_the_same_time,
    registry::a_pull_that_is_ended_leaves_nothing,
    registry::a_pull_that_is_killed_is_cleared_away_by_the_next,
    registry::skopeo_and_umoci_make_the_same_tree_of_a_pull,
    registry_caching::a_second_pull_asks_where_the_tag_leads_and_no_more,
    registry_caching::what_was_pulled_needs_no_network,
    registry_caching::the_script_takes_an_image_from_the_cache,
    registry_caching::a_damaged_blob_of_the_cache_is_removed_and_got_anew,
    registry_caching::pulls_share_a_cache_at_once_and_leave_no_half_blob,
    registry_caching::a_killed_pull_leaves_a_cache_that_is_good,
    registry_caching::a_cache_without_room_is_a_note,
    registry_helpers::a_helper_is_asked_for_a_password,
    registry_helpers::an_identity_token_is_given_for_a_token,
    registry_network::retries_are_for_registries_too,
    registry_network::a_registry_may_lead_elsewhere_by_a_relative_path,
    registry_network::a_registry_is_reached_by_https_and_through_a_proxy,
    registry_network::the_progress_of_a_pull_is_for_terminals,
    listing::the_script_of_a_list_clears_up_when_interrupted,
    listing::each_kind_of_entry_is_an_object,
    listing::an_image_is_listed_as_the_tree_that_it_becomes,
    listing::layers_by_chance_are_listed_as_they_are_extracted,
    listing::a_list_is_printed_when_it_is_verified,
    trees::links_within_the_root_lead_where_they_lead_inside,
    trees::a_deep_tree_takes_linear_time,
    trees::a_user_gets_what_a_user_can_have,
    denied::without_openat2_the_same_is_made_and_refused,
    devices::what_can_t_be_made_is_listed_and_never_a_file,
    devices::only_what_the_tree_lacks_is_listed,
    devices::the_script_leaves_out_what_can_t_be_made,
    devices::owners_that_can_t_be_set_are_counted,
    mapped::a_mapped_tree_is_what_tar_makes_in_the_namespace,
    mapped::every_format_and_source_is_mapped,
    mapped::layers_are_taken_away_from_mapped_trees,
    mapped::the_script_maps_as_well,
    mapped::what_is_the_user_s_stays_at_hand,
    mapped::archives_that_mean_harm_stay_inside_the_map,
    mapped::a_signal_leaves_nothing_of_a_mapped_tree,
    mapped::a_killed_run_is_cleared_away_in_the_namespace,
    mapped::an_owner_beyond_the_map_is_told,
    mapped::what_a_map_needs_is_told,
    unusual::links_and_folders_may_have_a_size,
    unusual::sizes_that_are_read_in_two_ways_are_refused,
    unusual::blocks_and_members_may_be_many,
    unusual::the_last_of_a_name_counts_however_many_there_are,
    unusual::a_small_file_that_cannot_be_written_is_named,
    messages::a_tree_of_which_all_was_left_out_is_noted,
    messages::a_path_that_is_no_text_is_printed_as_it_is,
    messages::a_name_may_be_as_long_as_names_are,
    messages::a_place_that_can_t_be_had_is_told_with_a_way_out,
    messages::a_server_that_speaks_no_tls_is_told,
    messages::a_terminal_is_no_archive,
    scarce::a_tree_whose_path_can_t_be_printed_is_taken_back,
    scarce::a_process_without_descriptors_leaves_nothing,
    scarce::a_limit_on_processes_is_named,
    usage::wrong_usage_is_one_line,
    usage::the_dry_run_script_does_the_same,
    usage::the_script_for_cpio_and_lz4_does_the_same,
    usage::a_dry_run_changes_nothing,
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
const FINGERPRINT: &str =
    "cd \"$1\"; find . -printf '%p %y %m %U %G %n %T@ %l' \\( -type f -printf ' %s' -o \
    -true \\) -printf '\\n' | sort; find . -type f -exec sha256sum {} + | sort
    find . \\( -type c -o -type b \\) -exec stat -c '%n %t %T' {} + | sort
    getfattr -Rhd -m- . 2>/dev/null || true";

fn fingerprint(root: &Path) -> String {
    run(support::sh(FINGERPRINT).arg(root)).silent()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
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
