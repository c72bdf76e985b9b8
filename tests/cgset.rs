//! Black-box tests of cgset against the real kernel, wherever its controllers are: v1, v2 or both.

#[path = "cgset/attach.rs"]
mod attach;
#[path = "cgset/command.rs"]
mod command;
#[path = "cgset/delegate.rs"]
mod delegate;
#[path = "cgset/dev.rs"]
mod dev;
#[path = "cgset/faults.rs"]
mod faults;
#[path = "cgset/freeze.rs"]
mod freeze;
#[path = "cgset/groups.rs"]
mod groups;
#[path = "cgset/io.rs"]
mod io;
#[path = "cgset/keys.rs"]
mod keys;
#[path = "cgset/layout.rs"]
mod layout;
#[path = "cgset/limits.rs"]
mod limits;
#[path = "cgset/messages.rs"]
mod messages;
#[path = "cgset/net.rs"]
mod net;
#[path = "cgset/net_filter.rs"]
mod net_filter;
#[path = "cgset/placement.rs"]
mod placement;
#[path = "cgset/raw.rs"]
mod raw;
#[path = "cgset/script.rs"]
mod script;
#[path = "cgset/speed.rs"]
mod speed;
#[path = "cgset/wait.rs"]
mod wait;
#[path = "cgset/watch.rs"]
mod watch;
#[path = "cgset/wrong.rs"]
mod wrong;

support::tests!(
    limits::what_eats_more_than_its_memory_is_killed,
    limits::a_child_that_eats_more_is_killed_and_its_parent_goes_on,
    limits::what_grows_after_it_was_attached_is_killed,
    limits::memory_is_what_was_asked_for_in_whole_pages,
    limits::a_percentage_is_of_the_smallest_limit_above,
    limits::memory_is_throttled_and_protected_where_v2_counts_it,
    limits::swap_is_limited_beside_memory,
    limits::more_processes_than_the_limit_are_refused,
    limits::cpu_time_is_what_the_quota_says,
    limits::cpu_quota_and_weight_are_set_and_taken_back,
    io::a_disk_is_read_and_written_at_the_rate,
    io::rates_are_set_by_disk_and_taken_back,
    io::rates_in_one_line_are_read_and_taken_back_each,
    io::a_disk_by_two_names_is_one_disk,
    io::what_is_no_disk_is_refused_and_leaves_nothing,
    net::a_rate_is_held_each_way,
    net::a_new_rate_reaches_old_connections,
    net::iperf3_measures_what_was_asked_for,
    net::what_is_early_waits_where_a_device_sends_by_the_clock,
    net::rates_are_shown_changed_and_taken_back,
    net::a_socket_of_before_is_noted,
    net::without_v2_it_says_how_to_mount_it,
    net::each_call_that_fails_leaves_no_program,
    keys::a_group_has_the_cpus_that_it_is_given,
    keys::shares_weight_and_idleness_are_one_thing,
    keys::a_burst_is_no_more_than_the_quota,
    keys::what_follows_when_memory_is_used_up_can_be_chosen,
    keys::huge_pages_are_limited_in_whole_pages,
    keys::a_share_of_the_disks_is_set_where_the_kernel_has_one,
    net_filter::the_most_specific_network_decides,
    net_filter::a_packet_that_is_sent_is_refused,
    net_filter::ipv4_by_ipv6_is_ipv4,
    net_filter::a_packet_that_comes_in_is_dropped,
    net_filter::networks_add_up_are_shown_and_go_with_the_group,
    net_filter::the_script_denies_the_same,
    net_filter::networks_that_make_no_sense_are_refused,
    net_filter::each_call_that_fails_leaves_the_old_networks,
    net_filter::a_running_sender_learns_of_a_new_rule,
    dev::the_last_rule_that_names_a_device_decides,
    dev::an_exception_of_an_exception_holds_or_is_refused,
    dev::rules_add_up_are_shown_and_go_with_the_group,
    dev::a_command_has_its_devices_from_the_start,
    dev::v1_says_what_it_does_not_do,
    dev::each_call_that_fails_leaves_the_old_rules,
    dev::devices_that_make_no_sense_are_refused,
    dev::the_script_has_the_same_rules,
    attach::two_calls_meet_in_one_group,
    attach::pids_come_from_standard_input,
    attach::of_a_list_those_that_have_ended_are_left_out,
    attach::one_of_a_list_may_end_while_it_is_looked_at,
    attach::what_is_held_already_is_noted,
    attach::a_limit_below_what_is_used_is_refused,
    attach::a_pid_that_is_gone_leaves_nothing,
    attach::what_is_no_process_of_its_own_is_refused,
    attach::a_stale_group_is_made_anew,
    command::the_status_is_that_of_the_command,
    command::a_command_that_can_not_be_run_leaves_nothing,
    command::a_command_that_can_not_be_run_changes_no_limit,
    command::what_the_command_leaves_running_is_killed,
    command::what_the_command_adds_to_its_group_goes_too,
    command::a_group_that_was_there_before_is_kept,
    command::the_command_is_inside_from_the_start,
    command::the_command_is_born_in_its_v2_group,
    command::the_world_is_handed_on_unchanged,
    command::a_signal_reaches_the_command_and_the_group_goes,
    command::a_killed_cgset_takes_the_command_along,
    command::limits_that_are_left_are_noted,
    command::each_pid_namespace_has_names_of_its_own,
    freeze::what_is_frozen_makes_no_progress,
    freeze::a_frozen_group_is_noted,
    freeze::kill_works_through_a_freeze,
    freeze::waiting_ends_when_it_happens,
    freeze::oom_is_told_of,
    freeze::abandoned_groups_are_pruned,
    freeze::this_very_process_is_neither_frozen_nor_killed,
    wait::pressure_is_told_of_and_its_script_waits_for_the_same,
    wait::pressure_that_is_not_counted_says_what_is_missing,
    wait::a_group_that_is_removed_is_waited_for_no_more,
    wait::a_group_is_empty_too_when_its_process_has_gone_elsewhere,
    watch::stat_has_columns_for_awk_and_json_for_others,
    watch::a_limit_above_is_measured_against,
    watch::watch_looks_each_second_and_ends_with_its_groups,
    watch::a_kill_shows_before_the_second_is_over,
    watch::kills_in_close_order_do_not_keep_it_from_looking,
    watch::without_a_reader_it_ends,
    watch::a_terminal_has_bars_that_are_drawn_in_place,
    watch::an_interrupt_leaves_the_terminal_as_it_was,
    watch::a_watched_process_that_ends_says_so,
    watch::what_is_not_there_is_not_looked_at,
    groups::the_tutorial_s_group_is_made_shown_and_removed,
    groups::a_named_group_is_the_same_by_its_path,
    groups::ls_has_each_group_once,
    groups::a_group_that_stands_at_several_places_is_listed_once,
    groups::a_group_with_processes_is_not_removed_unless_they_are_killed,
    groups::show_has_what_is_set_as_text_and_as_json,
    placement::processes_that_are_in_the_way_are_moved_into_an_inner_group,
    placement::a_group_is_made_below_the_one_that_is_named,
    placement::names_are_as_engines_give_them,
    raw::kernel_names_are_set_read_back_and_taken_back,
    raw::a_file_that_is_only_written_to_is_refused,
    raw::a_controller_without_a_key_is_reached,
    delegate::a_user_limits_what_is_in_a_delegated_group,
    delegate::the_largest_number_is_no_user,
    delegate::strict_does_nothing_where_there_is_something_to_note,
    wrong::wrong_usage_is_one_line_with_its_status,
    wrong::a_wrong_value_says_what_would_be_right,
    wrong::names_that_lead_elsewhere_are_refused,
    wrong::without_privileges_it_says_so_and_leaves_nothing,
    wrong::nothing_mounted_names_the_mount_command,
    wrong::a_read_only_mount_is_explained,
    wrong::a_part_of_a_tree_is_enough_for_names,
    messages::a_tenth_of_the_limit_held_before_is_noted,
    messages::more_cpus_than_there_are_are_noted,
    messages::swap_that_is_not_limited_is_noted,
    messages::a_controller_that_is_not_handed_down_is_named,
    messages::a_controller_without_a_tree_is_looked_for,
    messages::processes_and_inner_groups_do_not_go_together,
    messages::a_threaded_group_above_is_named,
    messages::the_group_above_both_takes_a_right_too,
    messages::a_real_time_process_is_told_from_others,
    messages::a_new_process_is_tried_again,
    messages::cpus_that_are_not_there_are_refused_with_those_that_are,
    messages::each_reason_to_refuse_cpu_time_is_told_from_the_others,
    messages::a_disk_that_the_kernel_does_not_know_is_refused,
    messages::a_group_that_stays_busy_is_listed,
    messages::the_group_that_limits_the_number_of_groups_is_named,
    messages::what_network_limits_take_is_said,
    script::the_script_sets_and_attaches_the_same,
    script::the_script_runs_the_command_the_same,
    script::the_script_creates_and_removes_the_same,
    script::explain_and_dry_run_say_the_same,
    script::a_dry_run_changes_nothing,
    script::nothing_happens_that_was_not_announced,
    speed::one_call_is_one_process_and_writes_each_thing_once,
    speed::each_group_more_costs_ls_the_same_few_calls,
    faults::each_step_that_fails_leaves_nothing,
    faults::each_step_of_a_run_that_fails_leaves_nothing,
    faults::what_is_killed_half_way_is_pruned,
    faults::a_child_that_has_lost_its_parent_ends_at_once,
    faults::an_attach_that_is_killed_half_way_is_pruned,
    faults::what_is_given_away_and_moved_away_comes_back,
    faults::a_signal_half_way_waits_for_the_end,
    faults::a_group_that_goes_while_it_is_killed_is_no_error,
);
