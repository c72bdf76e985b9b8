//! Black-box tests of bindmount against the real kernel, each in a mount namespace of its own.

#[path = "bindmount/bind.rs"]
mod bind;
#[path = "bindmount/denied.rs"]
mod denied;
#[path = "bindmount/devices.rs"]
mod devices;
#[path = "bindmount/faults.rs"]
mod faults;
#[path = "bindmount/forms.rs"]
mod forms;
#[path = "bindmount/hints.rs"]
mod hints;
#[path = "bindmount/hostile.rs"]
mod hostile;
#[path = "bindmount/idmap.rs"]
mod idmap;
#[path = "bindmount/masks.rs"]
mod masks;
#[path = "bindmount/named.rs"]
mod named;
#[path = "bindmount/overlay.rs"]
mod overlay;
#[path = "bindmount/resolver.rs"]
mod resolver;
#[path = "bindmount/script.rs"]
mod script;
#[path = "bindmount/signals.rs"]
mod signals;
#[path = "bindmount/standard.rs"]
mod standard;
#[path = "bindmount/target.rs"]
mod target;
#[path = "bindmount/unmount.rs"]
mod unmount;
#[path = "bindmount/wrong.rs"]
mod wrong;

use std::fs;
use std::path::Path;

use support::{Ran, Skip, TempDir, alpine, need_root, private_sh, run, scratch};

support::tests!(
    bind::a_folder_and_a_file_are_seen_at_a_second_place,
    bind::mounts_own_spellings_do_the_same,
    bind::what_is_said_twice_or_means_nothing_is_no_mistake,
    bind::read_only_is_recursive_and_without_a_writable_moment,
    bind::options_are_set_as_mount_would,
    bind::what_was_read_only_can_be_made_writable,
    bind::list_shows_what_is_at_and_under,
    bind::list_is_a_word_a_cell_whatever_the_names_are,
    bind::mkdir_makes_missing_mount_points,
    bind::a_command_is_become,
    standard::std_makes_a_root_work,
    standard::std_leaves_the_root_as_it_was,
    standard::std_binds_what_is_named,
    standard::proc_shows_this_pid_namespace_alone,
    standard::an_unmount_inside_does_not_reach_the_machine,
    standard::a_user_namespace_is_enough,
    standard::a_user_namespace_without_pids_of_its_own_is_explained,
    devices::the_nodes_are_those_that_every_program_expects,
    devices::a_chmod_inside_does_not_reach_the_machine,
    devices::a_node_that_is_another_is_refused,
    devices::terminals_and_shared_memory_are_its_own,
    devices::the_terminal_of_the_command_keeps_its_name,
    devices::the_machines_own_is_there_when_asked_for,
    devices::nodes_of_the_roots_own_are_not_touched,
    masks::root_with_little_power_changes_nothing,
    masks::root_with_all_its_power_can_peel_a_mask,
    masks::the_masks_are_mounts_of_their_kinds,
    masks::file_systems_in_sys_are_not_seen,
    masks::what_is_mounted_in_sys_later_is_not_seen,
    masks::the_table_of_mounts_is_not_read,
    masks::a_proc_that_is_covered_is_told_of,
    masks::the_processes_alone_are_better_than_nothing,
    resolver::any_root_has_the_machines_servers,
    resolver::it_is_a_copy_that_all_can_read,
    resolver::a_link_is_followed_inside_the_root,
    resolver::an_older_kernel_gets_it_too,
    resolver::an_etc_in_memory_looks_like_the_one_on_disk,
    resolver::mkdir_makes_the_file_and_etc_stays_on_disk,
    resolver::what_mkdir_can_not_make_is_in_memory,
    resolver::a_root_without_etc_is_told_how_to_get_one,
    hostile::folders_that_lead_outside_are_refused,
    hostile::a_resolv_conf_that_leads_outside_touches_nothing,
    hostile::a_named_place_stays_inside,
    hostile::an_exchanged_folder_leads_no_unmount_outside,
    forms::no_link_leads_any_form_outside,
    forms::a_place_of_the_machines_is_followed,
    forms::no_link_leads_a_running_container_outside,
    forms::no_link_leads_any_script_outside,
    unmount::unmount_takes_away_one_or_all,
    unmount::the_order_is_that_of_the_mounts,
    unmount::what_is_shared_goes_with_its_twin,
    unmount::the_machines_root_is_refused,
    unmount::a_root_stays_writable,
    unmount::a_user_namespace_keeps_trees_together,
    named::root_makes_what_is_named_and_no_more,
    named::memory_is_as_large_and_as_open_as_asked_for,
    named::servers_can_be_named,
    named::a_service_of_the_machine_is_named_where_it_is_heard,
    named::their_scripts_do_the_same,
    overlay::changes_go_to_the_upper_folder_alone,
    overlay::the_working_folder_is_not_left_below,
    overlay::several_lower_folders_and_none_above,
    overlay::a_user_namespace_is_enough,
    overlay::an_odd_name_is_no_trap,
    overlay::their_scripts_do_the_same,
    overlay::an_older_kernel_gets_it_too,
    overlay::no_link_leads_a_mount_outside,
    overlay::what_is_wrong_is_told,
    overlay::each_call_that_fails_leaves_nothing,
    target::a_tree_of_here_is_seen_there_and_goes_again,
    target::a_hostile_root_gets_no_mount_elsewhere,
    target::what_can_t_be_done_there_is_told_and_leaves_nothing,
    target::a_proc_of_another_pid_namespace_is_no_hindrance,
    target::a_proc_that_is_made_up_is_not_looked_at,
    target::the_target_is_the_one_that_we_call_so,
    signals::one_that_ends_it_midway_leaves_nothing,
    signals::command_has_the_callers_mask,
    signals::a_limit_on_files_leaves_nothing,
    signals::a_silent_server_keeps_nobody,
    hints::a_covered_mount_is_told_of,
    hints::who_keeps_a_mount_busy_is_named,
    hints::a_user_is_told_what_can_help,
    hints::a_place_of_a_container_is_named_as_it_is_here,
    hints::what_can_not_be_mounted_is_named,
    script::the_dry_run_script_does_the_same,
    script::a_relative_name_is_one_from_here,
    script::the_script_does_the_same_in_a_user_namespace,
    script::an_odd_name_is_no_trap,
    script::the_script_finds_the_mounts_below,
    script::a_script_maps_owners_or_fails,
    script::the_script_takes_away_the_same,
    script::explain_says_what_the_script_has,
    script::a_dry_run_changes_nothing,
    wrong::a_failure_midway_leaves_nothing,
    wrong::a_command_that_can_not_be_run_leaves_no_mount,
    wrong::wrong_usage_is_one_line,
    wrong::without_privileges_it_says_so,
    wrong::the_help_has_one_backslash_for_one,
    faults::each_call_that_fails_leaves_nothing,
    faults::what_the_kernel_lacks_is_named,
    denied::a_denied_call_is_named_and_leaves_nothing,
    denied::its_cost_does_not_grow_with_the_mounts_of_the_machine,
    idmap::owners_are_seen_as_others,
    idmap::what_can_not_be_mapped_is_told,
    idmap::a_caller_may_ignore_the_end_of_children,
    idmap::several_are_made_or_none,
    hostile::an_exchanged_mount_point_leads_nowhere,
    faults::without_openat2_the_same_is_mounted,
);

const BINDMOUNT: &str = env!("CARGO_BIN_EXE_bindmount");

/// Runs a script in a mount namespace of its own; `$B` is bindmount, `$1` the folder.
fn in_folder(folder: &Path, script: &str) -> Ran {
    run(private_sh(&format!("B={BINDMOUNT}; cd \"$1\"; {script}")).arg(folder))
}

/// How many mounts there are at and under the folder.
const COUNT: &str = "grep -c -F \" $1\" /proc/self/mountinfo || true";

/// A folder with a tree to mount: `src/file`, `src/sub/`, and places for it: `dst/`, `file`.
fn tree() -> Result<TempDir, Skip> {
    need_root()?;
    let folder = scratch();
    for dir in ["src/sub", "dst"] {
        fs::create_dir_all(folder.path().join(dir)).expect("our own folder");
    }
    for file in ["src/file", "file"] {
        fs::write(folder.path().join(file), format!("{file}\n")).expect("our own folder");
    }
    Ok(folder)
}

/// A root of empty folders.
fn bare_root() -> Result<TempDir, Skip> {
    need_root()?;
    let folder = scratch();
    for dir in ["dev", "proc", "sys", "etc"] {
        fs::create_dir(folder.path().join(dir)).expect("our own folder");
    }
    Ok(folder)
}

/// All that can be seen of a tree but the times of access.
fn fingerprint(root: &Path) -> String {
    let list = "cd \"$1\"; find . -printf '%p %y %m %U %G %s %T@ %C@ %l\\n' | sort
        find . -type f -exec sha256sum {} + | sort";
    run(support::sh(list).arg(root)).silent()
}
