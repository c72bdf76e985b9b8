//! Black-box tests of nsenter-lite against the real kernel.

#[path = "nsenter_lite/command.rs"]
mod command;
#[path = "nsenter_lite/engine.rs"]
mod engine;
#[path = "nsenter_lite/enter.rs"]
mod enter;
#[path = "nsenter_lite/faults.rs"]
mod faults;
#[path = "nsenter_lite/follow.rs"]
mod follow;
#[path = "nsenter_lite/hints.rs"]
mod hints;
#[path = "nsenter_lite/ids.rs"]
mod ids;
#[path = "nsenter_lite/init.rs"]
mod init;
#[path = "nsenter_lite/join.rs"]
mod join;
#[path = "nsenter_lite/keep.rs"]
mod keep;
#[path = "nsenter_lite/make.rs"]
mod make;
#[path = "nsenter_lite/network.rs"]
mod network;
#[path = "nsenter_lite/outer.rs"]
mod outer;
#[path = "nsenter_lite/program.rs"]
mod program;
#[path = "nsenter_lite/pty.rs"]
mod pty;
#[path = "nsenter_lite/report.rs"]
mod report;
#[path = "nsenter_lite/script.rs"]
mod script;
#[path = "nsenter_lite/session.rs"]
mod session;
#[path = "nsenter_lite/setup.rs"]
mod setup;
#[path = "nsenter_lite/terminal.rs"]
mod terminal;
#[path = "nsenter_lite/user.rs"]
mod user;
#[path = "nsenter_lite/wrong.rs"]
mod wrong;

support::tests!(
    make::each_letter_makes_its_namespace_and_no_other,
    make::the_command_is_pid_1_and_sees_only_its_own_processes,
    make::mounts_inside_are_not_seen_outside,
    make::proc_is_never_mounted_through_a_symbolic_link,
    make::interpreters_are_those_of_the_user_namespace,
    make::an_interpreter_of_outside_runs_programs_inside,
    make::another_root_has_its_own_proc_and_no_way_out,
    make::the_host_name_is_set_inside_only,
    make::the_domain_name_is_set_inside_only,
    user::an_ordinary_user_is_root_inside,
    user::an_ordinary_user_stays_oneself_inside,
    user::setgroups_is_denied_or_left_alone,
    command::the_pid_file_is_there_before_the_command,
    command::a_limit_on_files_is_an_error,
    command::the_pid_file_harms_nobody,
    command::the_default_command_is_the_shell,
    command::statuses_are_those_of_the_command,
    command::a_signal_that_the_command_leaves_to_the_default_ends_it,
    command::a_signal_that_the_command_handles_reaches_it,
    command::a_signal_that_the_caller_ignores_stays_ignored,
    command::nothing_is_left_when_the_command_ends,
    command::a_killed_launcher_takes_the_command_along,
    command::the_end_is_seen_behind_a_signal_that_says_so_falsely,
    command::the_status_is_known_when_the_caller_ignores_children,
    command::the_world_is_handed_on_unchanged,
    command::the_terminal_comes_back_from_a_shell_that_was_pid_1,
    command::control_c_ends_a_command_and_not_a_shell,
    init::the_command_is_pid_2_and_its_status_exact,
    init::every_signal_reaches_the_command,
    init::a_flood_of_signals_does_not_keep_it,
    init::a_signal_keeps_its_value,
    init::stops_are_mirrored,
    init::orphans_are_reaped_and_end_with_the_command,
    init::a_launcher_killed_at_birth_leaves_nothing,
    init::a_command_that_is_another_user_ends_with_its_launcher,
    init::the_command_may_be_asked_to_end_with_its_launcher,
    init::the_command_can_not_look_into_pid_1,
    init::the_command_waits_until_pid_1_has_let_go,
    terminal::a_shell_inside_has_job_control,
    terminal::the_callers_next_read_works,
    terminal::control_z_stops_the_command_and_its_launcher,
    terminal::a_command_in_our_group_goes_on_by_fg,
    terminal::one_launcher_in_another_stops_in_the_background,
    terminal::a_launcher_in_another_does_not_take_the_terminal_away,
    terminal::control_c_reaches_the_script_too,
    terminal::a_pipeline_shares_the_terminal,
    terminal::the_command_is_the_foreground,
    terminal::the_size_of_the_window_is_known_inside,
    pty::it_has_a_name_and_a_session,
    pty::what_nobody_reads_keeps_nobody,
    pty::what_is_written_after_a_signal_is_not_lost,
    pty::output_that_is_lost_is_told,
    pty::it_is_the_groups_that_terminals_have,
    pty::it_works_in_a_pipeline,
    pty::the_end_is_told_to_whoever_comes_late,
    pty::the_callers_input_is_out_of_reach,
    pty::a_stopped_launcher_leaves_the_terminal_as_it_was,
    pty::a_launcher_that_was_stopped_unasked_reads_keys_again,
    pty::control_c_ends_all_that_runs,
    pty::started_in_the_background_its_terminal_is_a_usual_one,
    pty::its_devpts_is_for_those_inside,
    pty::in_the_background_it_reads_no_keys,
    pty::in_the_background_it_ends_by_a_signal,
    faults::each_call_that_fails_leaves_nothing,
    enter::a_process_is_entered_in_all_its_namespaces,
    enter::a_process_is_entered_by_letters,
    enter::who_is_inside_reaches_no_group_outside,
    enter::who_is_inside_makes_a_session,
    enter::who_is_inside_ends_with_the_launchers_group,
    enter::a_false_terminal_inside_keeps_nobody,
    enter::an_ordinary_user_enters_what_is_theirs,
    follow::the_targets_user_and_group_are_taken,
    follow::who_can_not_be_traced_is_no_root,
    follow::a_socket_leads_to_its_network,
    follow::a_context_needs_selinux,
    follow::a_user_namespace_is_its_owners,
    follow::no_variables_are_handed_on,
    ids::all_subordinate_ids_are_mapped,
    ids::ranges_are_mapped_by_the_words_of_unshare,
    ids::without_lines_it_says_what_to_write,
    ids::root_writes_any_map_itself,
    ids::capabilities_are_kept_on_request,
    ids::the_script_of_a_map_does_the_same,
    ids::a_map_that_nobody_writes_is_missed,
    keep::a_folder_keeps_all_namespaces_that_are_made,
    keep::a_file_keeps_one_namespace,
    keep::a_failure_leaves_no_file,
    keep::a_command_that_never_ran_keeps_nothing,
    keep::an_ordinary_user_keeps_what_is_theirs,
    keep::the_script_keeps_the_same,
    join::a_descriptor_and_an_inode_are_targets,
    join::the_targets_root_folder_and_environment_are_taken,
    join::the_targets_control_groups_are_joined,
    join::the_user_namespace_above_is_entered,
    join::the_program_on_disk_is_out_of_reach,
    outer::what_is_kept_is_the_commands,
    outer::the_map_is_the_commands,
    outer::the_target_is_the_one_that_we_call_so,
    outer::who_has_no_number_there_is_told,
    outer::a_number_is_never_a_folder,
    hints::a_limit_is_no_full_disk,
    hints::no_user_namespace_in_a_chroot,
    hints::what_only_another_kernel_says_is_explained,
    hints::a_root_or_an_identity_that_is_not_to_be_had,
    hints::a_folder_or_room_for_descriptors_that_is_missing,
    hints::clocks_have_a_range,
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
    report::a_detached_command_keeps_its_pid_1,
    report::a_fault_leaves_nothing,
    report::a_killed_launcher_leaves_no_command,
    report::one_that_waits_dies_with_its_launcher,
    engine::some_are_joined_and_others_made_by_one_process,
    engine::a_user_namespace_is_joined_first_and_as_its_root,
    engine::credentials_are_kept_on_request,
    engine::what_can_not_be_joined_is_one_line,
    engine::the_command_of_outside_runs_where_it_is_not,
    engine::the_command_gets_open_descriptors,
    engine::the_join_script_does_the_same,
    engine::a_fault_of_joining_leaves_nothing,
    program::what_is_no_file_is_not_waited_for,
    program::no_strings_are_handed_on,
    program::the_targets_variables_are_taken_and_no_other_strings,
    wrong::wrong_usage_is_one_line,
    wrong::wrong_pids_are_told_apart,
    wrong::without_privileges_it_says_so,
    wrong::a_pid_namespace_whose_init_has_ended_is_explained,
    script::the_dry_run_script_does_the_same,
    script::the_dry_run_script_gives_a_terminal,
    script::the_dry_run_script_writes_the_pid_of_outside,
    script::the_dry_run_script_enters_the_same,
    script::explain_and_dry_run_say_the_same,
    script::a_dry_run_changes_nothing,
);
