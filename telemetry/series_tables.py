"""The tables of `telemetry.series_catalogue`: title -> lines of `name kind [OpenTelemetry name]: meaning`.

A line `# ...` says where the families below it are read. A `*` in a name stands for any rest, and for that rest in the
meaning.
"""

HOST = """
# /proc/stat
node_cpu_seconds_total counter system.cpu.time: Time that a processor spent in a mode.
node_cpu_guest_seconds_total counter: Time that a processor spent running virtual machines, contained in user and nice.
node_context_switches_total counter: Context switches of all processors.
node_intr_total counter: Interrupts serviced.
node_forks_total counter system.process.created: Processes and threads started since boot.
node_boot_time_seconds gauge: Time of boot, seconds since 1970.
node_procs_running gauge system.process.count: Processes that run or could run.
node_procs_blocked gauge system.process.count: Processes that wait for storage.
# the clock
node_time_seconds gauge: Time of the host, seconds since 1970.
# /proc/loadavg
node_load1 gauge system.cpu.load_average.1m: Mean number of tasks that run or wait, over a minute.
node_load5 gauge system.cpu.load_average.5m: Mean number of tasks that run or wait, over 5 minutes.
node_load15 gauge system.cpu.load_average.15m: Mean number of tasks that run or wait, over 15 minutes.
node_processes_threads gauge system.thread.count: Threads of the whole host.
# /proc/sys/kernel/random/entropy_avail
node_entropy_available_bits gauge: Randomness that the kernel has gathered.
# /proc/buddyinfo
node_buddyinfo_blocks gauge: Free blocks of memory of 2^size pages, by zone.
# /proc/meminfo
node_memory_MemTotal_bytes gauge system.memory.limit: Memory that the kernel can use.
node_memory_MemFree_bytes gauge system.memory.usage: Memory used for nothing at all.
node_memory_MemAvailable_bytes gauge system.memory.linux.available: Memory to be had without swapping, estimated.
node_memory_Buffers_bytes gauge system.memory.usage: Cache of block devices.
node_memory_Cached_bytes gauge system.memory.usage: Cache of files, tmpfs included.
node_memory_Shmem_bytes gauge system.memory.linux.shared: Shared memory and tmpfs.
node_memory_Slab_bytes gauge system.memory.linux.slab.usage: Memory of the kernel's own objects.
node_memory_Dirty_bytes gauge: File pages that wait to be written to storage.
node_memory_Writeback_bytes gauge: File pages being written to storage.
node_memory_AnonPages_bytes gauge: Memory of processes that no file backs.
node_memory_Committed_AS_bytes gauge: Memory promised to processes.
node_memory_SwapTotal_bytes gauge system.paging.usage: Size of the swap space.
node_memory_SwapFree_bytes gauge system.paging.usage: Swap space that is free.
node_memory_* gauge: The kernel's figure * of memory.
# /proc/vmstat
node_vmstat_pgfault untyped system.paging.faults: Page faults, minor and major.
node_vmstat_pgmajfault untyped system.paging.faults: Page faults that had to wait for storage.
node_vmstat_pgpgin untyped: KiB read from block devices.
node_vmstat_pgpgout untyped: KiB written to block devices.
node_vmstat_pswpin untyped system.paging.operations: Pages read from swap.
node_vmstat_pswpout untyped system.paging.operations: Pages written to swap.
node_vmstat_oom_kill untyped: Processes killed for want of memory.
node_vmstat_* untyped: The kernel's figure * of virtual memory.
# /proc/diskstats
node_disk_reads_completed_total counter system.disk.operations: Reads completed.
node_disk_writes_completed_total counter system.disk.operations: Writes completed.
node_disk_reads_merged_total counter system.disk.merged: Reads merged with neighbours.
node_disk_writes_merged_total counter system.disk.merged: Writes merged with neighbours.
node_disk_read_bytes_total counter system.disk.io: Bytes read.
node_disk_written_bytes_total counter system.disk.io: Bytes written.
node_disk_read_time_seconds_total counter system.disk.operation_time: Time of all reads, added up.
node_disk_write_time_seconds_total counter system.disk.operation_time: Time of all writes, added up.
node_disk_io_time_seconds_total counter system.disk.io_time: Time with any request in flight.
node_disk_io_time_weighted_seconds_total counter: Time of all requests in flight, added up.
node_disk_io_now gauge: Requests in flight.
node_disk_discards_completed_total counter: Discards completed.
node_disk_discards_merged_total counter: Discards merged with neighbours.
node_disk_discarded_sectors_total counter: Sectors discarded.
node_disk_discard_time_seconds_total counter: Time of all discards, added up.
node_disk_flush_requests_total counter: Flushes completed.
node_disk_flush_requests_time_seconds_total counter: Time of all flushes, added up.
# /proc/net/dev
node_network_receive_bytes_total counter system.network.io: Bytes received by an interface.
node_network_transmit_bytes_total counter system.network.io: Bytes sent by an interface.
node_network_receive_packets_total counter system.network.packet.count: Packets received.
node_network_transmit_packets_total counter system.network.packet.count: Packets sent.
node_network_receive_errs_total counter system.network.errors: Packets received with an error.
node_network_transmit_errs_total counter system.network.errors: Packets that could not be sent.
node_network_receive_drop_total counter system.network.packet.dropped: Received packets that were dropped.
node_network_transmit_drop_total counter system.network.packet.dropped: Packets dropped before they were sent.
node_network_* counter: The driver's count *.
# /proc/net/snmp, /proc/net/netstat, /proc/net/snmp6
node_netstat_Tcp_RetransSegs untyped: TCP segments sent again.
node_netstat_Tcp_CurrEstab untyped: TCP connections that are open.
node_netstat_TcpExt_ListenOverflows untyped: Connections refused since a program did not accept in time.
node_netstat_TcpExt_ListenDrops untyped: Connection attempts dropped, for any reason.
node_netstat_Udp_InErrors untyped: UDP datagrams that were received and lost.
node_netstat_* untyped: The kernel's protocol figure *.
# /proc/net/sockstat, /proc/net/sockstat6
node_sockstat_* gauge: Sockets, or their memory: *.
# /proc/net/softnet_stat
node_softnet_processed_total counter: Packets that a processor took from the network cards.
node_softnet_dropped_total counter: Packets lost since a processor's backlog was full.
node_softnet_times_squeezed_total counter: Times that a processor ran out of budget with packets left.
node_softnet_* untyped: The kernel's figure * of packet processing.
# /proc/softirqs
node_softirqs_functions_total counter: Deferred interrupt work, by processor and type.
# /proc/interrupts
node_interrupts_total counter: Interrupts, by processor and line.
# /proc/pressure/{cpu,memory,io,irq}
node_pressure_cpu_waiting_seconds_total counter: Time that some task waited for a processor.
node_pressure_cpu_stalled_seconds_total counter: Time that all tasks waited for a processor.
node_pressure_memory_waiting_seconds_total counter: Time that some task waited for memory.
node_pressure_memory_stalled_seconds_total counter: Time that all tasks waited for memory.
node_pressure_io_waiting_seconds_total counter: Time that some task waited for storage.
node_pressure_io_stalled_seconds_total counter: Time that all tasks waited for storage.
node_pressure_irq_stalled_seconds_total counter: Time that all tasks waited for interrupts to be handled.
# /proc/sys/fs/file-nr
node_filefd_allocated gauge: Open files of the whole host.
node_filefd_maximum gauge: Most open files that the host allows.
"""

PROCESS = """
# /proc/PID/{stat,status,statm,io,schedstat}
process_cpu_seconds_total counter process.cpu.time: Processor time.
process_cpu_clock_seconds_total counter: Processor time by the kernel's clock, to the nanosecond.
process_resident_memory_bytes gauge process.memory.usage: Memory in use, shared pages included.
process_virtual_memory_bytes gauge process.memory.virtual: Addresses taken, most of them never used.
process_threads gauge process.thread.count: Threads.
process_count gauge: Processes of the group that live.
process_open_fds gauge process.unix.file_descriptor.count: Open file descriptors.
process_max_fds gauge: Most file descriptors that the process may open.
process_start_time_seconds gauge: Start of the process, seconds since 1970.
process_context_switches_total counter process.context_switches: Context switches, by kind.
process_read_bytes_total counter process.disk.io: Bytes read from storage.
process_write_bytes_total counter process.disk.io: Bytes written to storage.
# /proc/PID/stat of each process of a group
workload_process_cpu_seconds_total counter process.cpu.time: Processor time, by mode.
workload_process_cpu_clock_seconds_total counter: Processor time by the kernel's clock, to the nanosecond.
workload_process_children_cpu_seconds_total counter: Processor time of children that were waited for, by mode.
workload_process_page_faults_total counter process.paging.faults: Page faults, by kind.
workload_process_block_io_delay_seconds_total counter: Time that the process waited for storage.
workload_process_threads gauge process.thread.count: Threads.
workload_process_nice gauge: Nice value, -20 to 19; less is more of the processor.
workload_process_last_cpu gauge: Number of the processor that it ran on last.
workload_process_start_since_boot_seconds gauge: Start of the process, seconds after boot.
workload_process_virtual_memory_bytes gauge process.memory.virtual: Addresses taken.
workload_process_resident_memory_bytes gauge process.memory.usage: Memory in use, shared pages included.
# /proc/PID/status
workload_process_anonymous_memory_bytes gauge: Memory in use that no file backs.
workload_process_file_memory_bytes gauge: Memory in use that files back, program code for one.
workload_process_shared_memory_bytes gauge: Memory in use that is shared memory or tmpfs.
workload_process_swap_memory_bytes gauge: Memory moved to swap.
workload_process_peak_resident_memory_bytes gauge: Most memory ever in use.
workload_process_peak_virtual_memory_bytes gauge: Most addresses ever taken.
workload_process_data_memory_bytes gauge: Addresses of data.
workload_process_stack_memory_bytes gauge: Addresses of the main stack.
workload_process_page_table_bytes gauge: Memory of its page tables.
workload_process_context_switches_total counter process.context_switches: Context switches, by kind.
# /proc/PID/io
workload_process_read_bytes_total counter process.disk.io: Bytes read from storage.
workload_process_write_bytes_total counter process.disk.io: Bytes written to storage.
workload_process_cancelled_write_bytes_total counter: Bytes written and deleted before they reached storage.
workload_process_read_calls_bytes_total counter: Bytes that read calls returned, from caches and pipes too.
workload_process_write_calls_bytes_total counter: Bytes that write calls took.
workload_process_read_calls_total counter: Read calls.
workload_process_write_calls_total counter: Write calls.
# /proc/PID/fd
workload_process_open_fds gauge process.unix.file_descriptor.count: Open file descriptors.
# /proc/PID/smaps_rollup, now and then: it takes the process's memory lock
workload_process_proportional_memory_bytes gauge: Memory in use, each shared page divided by its users.
workload_process_private_dirty_memory_bytes gauge: Memory that would be free if the process ended.
workload_process_proportional_swap_bytes gauge: Swap in use, shared parts divided by their users.
# /proc/PID/task/TID/schedstat
workload_thread_cpu_seconds_total counter: Processor time of a thread.
workload_thread_run_delay_seconds_total counter: Time that a thread could have run and waited for a processor.
workload_thread_timeslices_total counter: Times that a thread was given a processor.
"""

CGROUP = """
# cpu.stat, cpu.max, cpuacct.usage, cpu.cfs_quota_us
container_cpu_usage_seconds_total counter container.cpu.time: Processor time of the group.
container_cpu_user_seconds_total counter container.cpu.time: Processor time in user mode.
container_cpu_system_seconds_total counter container.cpu.time: Processor time in the kernel.
container_cpu_cfs_periods_total counter: Periods in which the ceiling was watched.
container_cpu_cfs_throttled_periods_total counter: Periods in which the group was stopped at its ceiling.
container_cpu_cfs_throttled_seconds_total counter: Time for which the group was stopped, over its processors.
container_spec_cpu_quota_ratio gauge: Ceiling in processors; absent where there is none.
container_threads gauge: Threads of the group.
container_pressure_cpu_waiting_seconds_total counter: Time that some task of the group waited for a processor.
container_pressure_cpu_stalled_seconds_total counter: Time that all tasks of the group waited for a processor.
container_pressure_memory_waiting_seconds_total counter: Time that some task of the group waited for memory.
container_pressure_memory_stalled_seconds_total counter: Time that all tasks of the group waited for memory.
container_pressure_io_waiting_seconds_total counter: Time that some task of the group waited for storage.
container_pressure_io_stalled_seconds_total counter: Time that all tasks of the group waited for storage.
# io.stat, blkio.throttle.io_service_bytes, blkio.throttle.io_serviced
container_fs_reads_bytes_total counter container.disk.io: Bytes read by the group, by device.
container_fs_writes_bytes_total counter container.disk.io: Bytes written by the group, by device.
container_fs_reads_total counter: Reads of the group, by device.
container_fs_writes_total counter: Writes of the group, by device.
# memory.current, memory.stat, memory.max, memory.events, memory.usage_in_bytes
container_memory_usage_bytes gauge container.memory.usage: Memory charged to the group, caches included.
container_memory_rss gauge container.memory.rss: Bytes of memory that no file backs.
container_memory_cache gauge: Bytes of file cache charged to the group.
container_memory_working_set_bytes gauge container.memory.working_set: Usage without caches that can be dropped.
container_memory_max_usage_bytes gauge: Most memory ever charged to the group.
container_memory_mapped_file gauge: Bytes of files mapped into memory.
container_memory_swap gauge: Bytes of swap in use.
container_memory_total_active_file_bytes gauge: File cache in use.
container_memory_total_inactive_file_bytes gauge: File cache that can be dropped.
container_memory_failures_total counter container.paging.faults: Page faults, by type.
container_spec_memory_limit_bytes gauge: Limit of the group's memory; absent where there is none.
container_memory_failcnt counter: Times that the group met its limit.
container_oom_events_total counter: Processes of the group killed for want of memory.
"""

ACCELERATOR = """
# NVML, the library of the NVIDIA driver
accelerator_utilization_ratio gauge hw.gpu.utilization: Share of the time in which some kernel ran.
accelerator_memory_utilization_ratio gauge: Share of the time in which memory was read or written.
accelerator_memory_used_bytes gauge hw.gpu.memory.usage: Memory in use.
accelerator_memory_total_bytes gauge hw.gpu.memory.limit: Size of the memory.
accelerator_temperature_celsius gauge hw.temperature: Temperature of the chip.
accelerator_power_watts gauge hw.power: Power drawn.
accelerator_power_limit_watts gauge: Power at which the clock is lowered.
accelerator_energy_joules_total counter hw.energy: Energy used since the driver was loaded.
accelerator_clock_hertz gauge: Clock, by domain.
accelerator_throttled gauge: 1 while the clock is lower than asked for.
accelerator_ecc_errors_total counter hw.errors: Memory errors since the driver was loaded, by kind.
accelerator_process_memory_bytes gauge: Memory of the accelerator that a process holds.
"""

SAMPLER = """
# the sampler itself, as of the sweep before
trimtab_sampler_sweeps_total counter: Sweeps done.
trimtab_sampler_missed_periods_total counter: Periods that passed without a sweep.
trimtab_sampler_clock_steps_total counter: Times that the wall clock was set.
trimtab_sampler_cpu_seconds_total counter: Processor time of sweeping.
trimtab_sampler_sweep_seconds gauge: Time that the sweep took.
trimtab_sampler_series gauge: Series of the sweep.
trimtab_process_cpu_seconds_total counter: Processor time of this program, all its threads.
trimtab_sampler_source_up gauge: 1 while the source can be read, 0 while it fails.
trimtab_sampler_source_seconds gauge: Time that the source took.
trimtab_sampler_source_errors_total counter: Sweeps in which the source failed.
trimtab_sampler_missing_total counter: Values that could not be read, by source and reason.
trimtab_scraped_at_seconds gauge: When the component's answer was there, on the sampler's clock.
"""

PUSH = """
# pushes to `trimtab monitor --push`
trimtab_push_accepted_total counter: Pushes taken.
trimtab_push_refused_total counter: Pushes refused, by reason.
trimtab_push_jobs gauge: Instances whose last push has not expired.
trimtab_push_age_seconds gauge: Time since an instance's last push.
"""

CLIENT = """
# telemetry.client in a training loop or server
training_step_seconds histogram: Time of one step, waiting for data included.
training_step_part_seconds_total counter: Time of all steps by part: data_wait, compute, optimizer and others you name.
training_samples_total counter: Samples trained on, each use counted.
training_steps_total counter: Optimizer steps.
training_data_wait_ratio gauge: Share of the last steps' time that went into waiting for data.
training_samples_per_second_per_core gauge: Samples per second of the last steps, per core of processor time used.
training_loss gauge: Loss of the last batch.
training_accuracy_ratio gauge: Accuracy of the last batch or evaluation.
training_learning_rate gauge: Learning rate in force.
training_evaluation_loss gauge: Loss of the last evaluation.
training_grad_norm gauge: Norm of the last gradient, before clipping.
training_episode_return gauge: Mean return of the last episodes (reinforcement learning).
training_gradient_noise_scale_samples gauge: Batch size where noise and gradient weigh the same.
"""

COMPONENTS = """
# /metrics of serving
serving_requests_total counter: Requests received.
serving_responses_total counter: Requests answered, by outcome.
serving_latency_seconds histogram http.server.request.duration: Arrival to answer; failed requests lie in +Inf.
serving_queue_requests gauge: Requests that wait for a batch.
serving_batches_total counter: Forward passes.
serving_batched_requests_total counter: Requests in forward passes.
serving_forward_seconds_total counter: Time of forward passes.
serving_model_version gauge: Version of the served model.
serving_model_trained_timestamp_seconds gauge: Time of the newest sample trained on, seconds since 1970.
serving_model_swaps_total counter: Models replaced by a newer one.
serving_received_bytes_total counter: Bytes of request bodies and headers.
serving_sent_bytes_total counter: Bytes of answer bodies.
# /metrics of training
training_goodput_samples_total counter: Samples times statistical efficiency.
training_demand_samples_total counter: Uses of labelled samples asked for.
training_backlog_samples gauge: Uses asked for, not made and not expired.
training_data_wait_seconds_total counter: Time without enough samples for a batch.
training_step_seconds_total counter: Time of optimizer steps.
training_checkpoints_total counter: Checkpoints published.
training_checkpoint_seconds_total counter: Time that training stood still for them.
training_checkpoint_bytes_total counter: Bytes of checkpoints.
# /metrics of ingest
ingest_events_received_total counter: Events received, dropped ones included.
ingest_events_written_total counter: Events in published shards.
ingest_events_dropped_total counter: Events lost since the buffer was full.
ingest_shards_total counter: Shards published.
ingest_written_bytes_total counter: Bytes of published shards.
ingest_received_bytes_total counter: Bytes of frames received.
ingest_cache_hits_total counter: Features found in the cache.
ingest_cache_misses_total counter: Features computed.
ingest_backlog_events gauge: Events received and not yet published.
ingest_lag_seconds gauge: Age of the oldest unpublished event, 0 if none.
ingest_event_lag_seconds histogram: Event sent to shard published.
# /metrics of load
load_requests_sent_total counter: Requests sent.
load_responses_total counter: Requests finished, by outcome.
load_latency_seconds histogram http.client.request.duration: Intended time of sending to answer; failures lie in +Inf.
load_correct_total counter: Answers with the right label.
load_answered_total counter: Answers with any label.
load_events_sent_total counter: Events handed to the connection.
load_events_unsent_total counter: Events lost since ingest did not take them.
load_offered_requests_per_second gauge: Mean request rate of the replay's current step.
load_offered_events_per_second gauge: Mean event rate of the replay's current step.
load_replay_position_ratio gauge: Part of the replay that is over; 0 before the first.
# /metrics of every component
exposition_pages_total counter: Pages of metrics that were written; one that comes twice is old.
exposition_written_seconds gauge: Monotonic time at which the page was written.
"""

TABLES = {
    "Host": HOST,
    "Processes": PROCESS,
    "Control groups": CGROUP,
    "Accelerators": ACCELERATOR,
    "The sampler": SAMPLER,
    "Pushed": PUSH,
    "Training loops with the client": CLIENT,
    "Components of the learning system": COMPONENTS,
}
"""Title -> table, in the order of the page."""
