//! Black-box tests of nsenter-lite against the real kernel.

#[path = "nsenter_lite/command.rs"]
mod command;
#[path = "nsenter_lite/enter.rs"]
mod enter;
#[path = "nsenter_lite/join.rs"]
mod join;
#[path = "nsenter_lite/make.rs"]
mod make;
#[path = "nsenter_lite/network.rs"]
mod network;
#[path = "nsenter_lite/report.rs"]
mod report;
#[path = "nsenter_lite/script.rs"]
mod script;
#[path = "nsenter_lite/setup.rs"]
mod setup;
#[path = "nsenter_lite/user.rs"]
mod user;
#[path = "nsenter_lite/wrong.rs"]
mod wrong;

support::tests!(
    make::each_letter_makes_its_namespace_and_no_other,
    make::the_command_is_pid_1_and_sees_only_its_own_processes,
    make::mounts_inside_are_not_seen_outside,
    make::proc_is_never_mounted_through_a_symbolic_link,
    make::the_host_name_is_set_inside_only,
    make::the_domain_name_is_set_inside_only,
    user::an_ordinary_user_is_root_inside,
    user::an_ordinary_user_stays_oneself_inside,
    user::setgroups_is_denied_or_left_alone,
    command::the_pid_file_is_there_before_the_command,
    command::the_pid_file_harms_nobody,
    command::the_default_command_is_the_shell,
    command::statuses_are_those_of_the_command,
    command::a_signal_that_the_command_leaves_to_the_default_ends_it,
    command::a_signal_that_the_command_handles_reaches_it,
    command::a_signal_that_the_caller_ignores_stays_ignored,
    command::nothing_is_left_when_the_command_ends,
    command::a_killed_launcher_takes_the_command_along,
    command::the_status_is_known_when_the_caller_ignores_children,
    command::the_world_is_handed_on_unchanged,
    command::the_terminal_comes_back_from_a_shell_that_was_pid_1,
    command::control_c_ends_a_command_and_not_a_shell,
    enter::a_process_is_entered_in_all_its_namespaces,
    enter::a_process_is_entered_by_letters,
    enter::an_ordinary_user_enters_what_is_theirs,
    network::loopback_comes_up_when_it_is_asked_for,
    network::groups_may_ping_as_far_as_they_are_mapped,
    network::what_the_network_refuses_is_one_line,
    network::the_network_script_does_the_same,
    report::readiness_is_told_when_the_command_runs,
    report::the_status_names_the_namespaces,
    report::the_command_waits_until_it_may_run,
    report::descriptors_are_checked_and_not_passed_on,
    report::the_script_waits_and_tells_too,
    report::the_pid_is_known_before_the_command_runs,
    report::a_detached_command_is_the_subreapers_child,
    report::a_fault_leaves_nothing,
    report::a_killed_launcher_leaves_no_command,
    report::one_that_waits_dies_with_its_launcher,
    join::some_are_joined_and_others_made_by_one_process,
    join::a_user_namespace_is_joined_first_and_as_its_root,
    join::what_can_not_be_joined_is_one_line,
    join::the_command_of_outside_runs_where_it_is_not,
    join::the_command_gets_open_descriptors,
    join::the_join_script_does_the_same,
    join::a_fault_of_joining_leaves_nothing,
    wrong::wrong_usage_is_one_line,
    wrong::wrong_pids_are_told_apart,
    wrong::without_privileges_it_says_so,
    wrong::a_pid_namespace_whose_init_has_ended_is_explained,
    script::the_dry_run_script_does_the_same,
    script::the_dry_run_script_writes_the_pid_of_outside,
    script::the_dry_run_script_enters_the_same,
    script::explain_and_dry_run_say_the_same,
    script::a_dry_run_changes_nothing,
);
