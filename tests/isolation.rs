//! The ways out of a container that are known, and the manners that scripts rely on: each tried
//! against `scripts/container run`, as root, as root in a user namespace, and as an ordinary user.
//!
//! E1 to E22 and H1 to H8 are the project's list of them; the program that tries is tests/probe.
//! That the attempts are worth something is shown by `bites`: they succeed where nothing holds.

#[path = "isolation/bed.rs"]
mod bed;
#[path = "isolation/bites.rs"]
mod bites;
#[path = "isolation/denial.rs"]
mod denial;
#[path = "isolation/faults.rs"]
mod faults;
#[path = "isolation/kernel.rs"]
mod kernel;
#[path = "isolation/many.rs"]
mod many;
#[path = "isolation/mapped.rs"]
mod mapped;
#[path = "isolation/paths.rs"]
mod paths;
#[path = "isolation/rights.rs"]
mod rights;
#[path = "isolation/root.rs"]
mod root;
#[path = "isolation/scripts.rs"]
mod scripts;

use std::process::ExitCode;

use bed::{Bed, Mode};
use support::{NamedTest, Test};

macro_rules! named {
    ($($name:path),* $(,)?) => { [$((stringify!($name), $name)),*] };
}

fn main() -> ExitCode {
    type Boxed = Box<dyn FnOnce() -> Test + Send>;
    type OnBed = (&'static str, fn(&Bed) -> Test);
    let each: &[OnBed] = &named![
        root::e1_double_chroot,
        root::e1_no_process_inside_has_another_root,
        root::e2_descriptors_and_working_directory,
        paths::e3_race_for_a_mount_point,
        paths::e4_mount_points_that_are_links,
        paths::e5_resolv_conf_that_is_a_link,
        paths::e6_e7_device_files_that_are_links,
        paths::e8_a_proc_of_files,
        paths::what_is_mounted_below_comes_along,
        paths::what_is_mounted_in_the_root_comes_along,
        root::e9_the_tools_own_files,
        root::e10_the_callers_terminal,
        kernel::e11_device_nodes,
        kernel::e12_handles,
        kernel::e13_mounts_stay_on_their_side,
        kernel::e14_settings_of_the_machine,
        kernel::e15_secrets_of_the_machine,
        kernel::e16_mounts_hold,
        kernel::e17_nested_namespaces,
        kernel::e18_processes,
        rights::e19_rights,
        rights::e19_another_user,
        kernel::e20_release_agent,
        rights::e21_abstract_sockets,
        rights::e22_a_name_service_of_the_root,
        many::h1_many_in_a_row_and_at_once,
        scripts::h2_signals,
        scripts::h2_a_killed_launcher,
        scripts::h3_orphans,
        scripts::h4_zombies,
        scripts::h5_the_terminal_comes_back,
        scripts::h5_a_terminal_of_its_own,
        scripts::h6_what_the_caller_has_set,
        scripts::h7_the_root_file_system_is_as_it_was,
        scripts::h7_changes_are_kept_apart,
        denial::h8_calls_that_the_kernel_has_not,
        faults::each_call_that_fails_leaves_nothing,
    ];
    let bites: &[NamedTest] = &named![
        bites::chroot2,
        bites::kernels_files,
        bites::mounts,
        bites::devices_and_handles,
        bites::terminal,
        bites::executables,
        bites::what_the_caller_left,
        bites::setuid,
        bites::mount_points_that_are_links,
        mapped::files_keep_their_owners,
        mapped::mounts_of_the_root_are_mapped_or_named,
        mapped::what_root_inside_can_not_find_is_told,
        mapped::ids_are_those_that_are_given,
        mapped::nothing_is_taken_from_the_root_file_system,
    ];
    let mut tests: Vec<(String, Boxed)> = Vec::new();
    for mode in Mode::ALL {
        for &(name, test) in each {
            let name = format!("{}::{name}", mode.name());
            tests.push((name, Box::new(move || test(&Bed::new(mode)?))));
        }
    }
    for &(name, test) in bites {
        tests.push((name.to_string(), Box::new(test)));
    }
    support::run_each(tests)
}
