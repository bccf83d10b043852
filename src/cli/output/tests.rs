use super::*;

#[derive(Serialize)]
struct ListedAsset {
    asset_id: &'static str,
    size_bytes: u64,
}

impl ListItem for ListedAsset {
    const COLUMNS: &'static [Column] = &[Column::whole("ASSET"), Column::number("SIZE")];
    fn cells(&self) -> Vec<Cell> {
        vec![self.asset_id.into(), humane::bytes(self.size_bytes).into()]
    }
    fn name(&self) -> String {
        self.asset_id.to_owned()
    }
}

#[derive(Serialize)]
struct StagedReport {
    staged: u64,
}

impl Render for StagedReport {
    fn page(&self, page: &mut TextPage) {
        page.field("staged", humane::count(self.staged));
    }
}

fn output(format: Format) -> (Output, Captured) {
    Output::captured(OutputOptions { format, ..OutputOptions::default() })
}

fn printed_list(format: Format, count: u64) -> String {
    let (output, captured) = output(format);
    let mut list = output.list::<ListedAsset>("assets");
    for size_bytes in 0..count {
        list.push(&ListedAsset { asset_id: "a1", size_bytes }).unwrap();
    }
    list.finish_with(&serde_json::json!({"next_cursor": "c:2"})).unwrap();
    captured.stdout()
}

#[test]
fn a_list_is_one_document_or_one_line_per_item() {
    let json: serde_json::Value = serde_json::from_str(&printed_list(Format::Json, 2)).unwrap();
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["assets"][1]["size_bytes"], 1);
    assert_eq!(json["next_cursor"], "c:2");
    assert_eq!(printed_list(Format::Jsonl, 1), "{\"asset_id\":\"a1\",\"size_bytes\":0}\n");
    assert_eq!(printed_list(Format::Name, 2), "a1\na1\n");
    assert_eq!(printed_list(Format::Table, 1), "ASSET  SIZE\na1      0 B\n");
}

#[test]
fn an_empty_list_is_still_a_whole_document() {
    let json: serde_json::Value = serde_json::from_str(&printed_list(Format::Json, 0)).unwrap();
    assert_eq!(json["assets"], serde_json::json!([]));
    assert_eq!(printed_list(Format::Table, 0), "ASSET  SIZE\n");
    let yaml: serde_json::Value = serde_saphyr::from_str(&printed_list(Format::Yaml, 0)).unwrap();
    assert_eq!(yaml["assets"], serde_json::json!([]));
}

#[test]
fn yaml_equals_json() {
    let json: serde_json::Value = serde_json::from_str(&printed_list(Format::Json, 3)).unwrap();
    let yaml: serde_json::Value = serde_saphyr::from_str(&printed_list(Format::Yaml, 3)).unwrap();
    assert_eq!(json, yaml);
}

#[test]
fn yaml_round_trips_hostile_text() {
    #[derive(Serialize)]
    struct TextDocument {
        text: String,
    }
    for text in
        ["a\nb: c\n- d", "# no comment", "\u{85}next\u{2028}line", "yes", "012", "'\"", "a\n\n", " lead", "\t", ""]
    {
        let written = yaml(&TextDocument { text: text.to_owned() }).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&written).unwrap();
        assert_eq!(read["text"], text, "{written}");
    }
}

#[test]
fn later_rows_follow_under_the_same_headings() {
    let table = printed_list(Format::Table, 1500);
    assert_eq!(table.lines().count(), 1501);
    assert_eq!(table.matches("ASSET").count(), 1);
}

#[test]
fn a_document_has_its_version_and_a_result_without_names_warns() {
    let (out, captured) = output(Format::Jsonl);
    out.print(&StagedReport { staged: 7 }).unwrap();
    assert_eq!(captured.stdout(), "{\"schema_version\":1,\"staged\":7}\n");
    let (out, captured) = output(Format::Name);
    out.print(&StagedReport { staged: 7 }).unwrap();
    assert_eq!((captured.stdout().as_str(), captured.stderr().contains("no names")), ("", true));
}

#[test]
fn a_failure_prints_its_chain_and_hint_or_one_line_of_json() {
    let failure = Failure::unexpected("cannot stage a\nb.pdf").because(&io::Error::other("no space")).hint("free some");
    let (out, captured) = output(Format::Table);
    out.failure(&failure);
    assert_eq!(captured.stderr(), "error: cannot stage a\\nb.pdf\n  caused by: no space\nhint: free some\n");
    let (out, captured) = output(Format::Json);
    out.failure(&failure);
    let line: serde_json::Value = serde_json::from_str(captured.stderr().trim_end()).unwrap();
    assert_eq!(line["error"]["exit_code"], 1);
}

/// A writer whose reader closed the pipe.
struct ClosedPipe;
impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_a_list_quietly_and_is_ignored_for_a_document() {
    let options = OutputOptions { format: Format::Jsonl, ..OutputOptions::default() };
    let out = Output::with_streams(options, Box::new(ClosedPipe), Box::new(io::sink()));
    out.print(&StagedReport { staged: 1 }).unwrap();
    let mut list = out.list::<ListedAsset>("assets");
    list.push(&ListedAsset { asset_id: "a", size_bytes: 1 }).unwrap();
    let failure = list.flush().unwrap_err();
    assert_eq!((failure.kind(), failure.exit_code()), (FailureKind::ClosedPipe, 0));
}

#[test]
fn quiet_leaves_only_warnings_and_errors_on_stderr() {
    let (out, captured) = Output::captured(OutputOptions { quiet: true, ..OutputOptions::default() });
    out.note("by the way");
    out.warn("look");
    assert_eq!(captured.stderr(), "warning: look\n");
}
