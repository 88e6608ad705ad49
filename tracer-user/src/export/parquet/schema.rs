//! The columns, and how each is stored. `docs/parquet.md` says what they mean.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    basic::{Compression as Codec, Encoding, ZstdLevel},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties, WriterVersion},
    },
    schema::types::ColumnPath,
};

use super::{Compression, place::Place};

/// Raised when a column changes its meaning or goes away; a column more needs no new version.
pub(super) const SCHEMA_VERSION: &str = "1";

/// Arguments of a call.
pub(super) const ARGS: usize = 6;

/// Row groups are sorted by `start_time_nanos`.
const SORTED_BY: SortingColumn =
    SortingColumn { column_idx: 5, descending: false, nulls_first: false };

pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(schema()));

fn schema() -> Schema {
    let needed = |name: &str, kind| Field::new(name, kind, false);
    let optional = |name: &str, kind| Field::new(name, kind, true);
    let id = |bytes| DataType::FixedSizeBinary(bytes);
    let mut fields = vec![
        needed("trace_id", id(16)),
        needed("span_id", id(8)),
        optional("parent_span_id", id(8)),
        needed("span_name", DataType::Utf8),
        needed("span_kind", DataType::Int32),
        needed("start_time_nanos", DataType::Int64),
        needed("end_time_nanos", DataType::Int64),
        needed("logical_clock", DataType::Int64),
        needed("duration_nanos", DataType::Int64),
        needed("status_code", DataType::Int32),
        needed("status_message", DataType::Utf8),
        needed("attributes_json", DataType::Utf8),
        needed("resource_json", DataType::Utf8),
        needed("process_id", DataType::Int32),
        needed("thread_id", DataType::Int64),
        optional("abi", DataType::Utf8),
        optional("syscall_nr", DataType::Int32),
    ];
    fields.extend((0..ARGS).map(|n| optional(&format!("arg{n}"), DataType::Int64)));
    fields.extend((0..ARGS).map(|n| optional(&format!("arg{n}_text"), DataType::Utf8)));
    fields.extend([
        optional("args_escaped", DataType::Int32),
        optional("args_truncated", DataType::Int32),
        optional("args_fault", DataType::Int32),
        optional("args_not_read", DataType::Int32),
        optional("result", DataType::Int64),
        optional("errno", DataType::Int32),
        optional("comm", DataType::Utf8),
        optional("comm_escaped", DataType::Boolean),
        optional("cgroup_id", DataType::Int64),
        optional("record", DataType::Utf8),
        optional("reason", DataType::Utf8),
        optional("container_id", DataType::Utf8),
        optional("parent_process_id", DataType::Int32),
        optional("process_start_nanos", DataType::Int64),
        optional("cgroup_path", DataType::Utf8),
        optional("args_read_at_exit", DataType::Int32),
    ]);
    Schema::new(fields)
}

macro_rules! few_values {
    ($($variant:ident = $name:literal,)*) => {
        /// Columns of values that come again, which [`super::dictionary`] encodes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Few { $($variant,)* }

        impl Few {
            /// Their names, each at the place of its number.
            pub(super) const NAMES: &[&str] = &[$($name,)*];
        }
    };
}

few_values! {
    TraceId = "trace_id",
    ParentSpanId = "parent_span_id",
    SpanName = "span_name",
    SpanKind = "span_kind",
    StatusCode = "status_code",
    StatusMessage = "status_message",
    Attributes = "attributes_json",
    Resource = "resource_json",
    ProcessId = "process_id",
    ThreadId = "thread_id",
    Abi = "abi",
    SyscallNr = "syscall_nr",
    Escaped = "args_escaped",
    Truncated = "args_truncated",
    Fault = "args_fault",
    NotRead = "args_not_read",
    Errno = "errno",
    Comm = "comm",
    CgroupId = "cgroup_id",
    Record = "record",
    Reason = "reason",
    ContainerId = "container_id",
    ParentProcessId = "parent_process_id",
    ProcessStart = "process_start_nanos",
    CgroupPath = "cgroup_path",
    ReadAtExit = "args_read_at_exit",
}

/// Whether the least and the greatest value of a column tell anything.
pub(super) fn has_bounds(field: &Field) -> bool {
    !matches!(field.data_type(), DataType::FixedSizeBinary(_))
}

/// The codec of pages.
pub(super) fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        Compression::None => Codec::UNCOMPRESSED,
    }
}

/// How files are written; `account` are the facts about the file that stand in its footer.
pub(super) fn properties(compression: Compression, account: Vec<KeyValue>) -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    let mut builder = WriterProperties::builder()
        // Every reader knows it.
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(Place::created_by())
        .set_compression(codec(compression))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // For all columns or for none, and `dictionary` makes none.
        .set_offset_index_disabled(true)
        // The writer's own affair: it is told where a row group ends.
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(vec![SORTED_BY]))
        .set_key_value_metadata(Some(account))
        .set_column_dictionary_enabled(path("span_id"), false);
    for field in SCHEMA.fields().iter().filter(|field| !has_bounds(field)) {
        builder =
            builder.set_column_statistics_enabled(path(field.name()), EnabledStatistics::None);
    }
    // Differences of numbers are quicker to find than numbers in a dictionary, and as short.
    let is_number = |field: &Field| matches!(field.data_type(), DataType::Int32 | DataType::Int64);
    for field in SCHEMA.fields().iter().filter(|field| is_number(field)) {
        builder = builder
            .set_column_dictionary_enabled(path(field.name()), false)
            .set_column_encoding(path(field.name()), Encoding::DELTA_BINARY_PACKED);
    }
    builder.build()
}
