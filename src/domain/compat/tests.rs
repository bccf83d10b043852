use super::*;

#[test]
fn confluent() {
    let mut totals = (0, 0, 0, 0);
    for file in [
        "diff-schema-examples",
        "diff-schema-examples-2020-12",
        "diff-combined-schema-examples",
        "diff-combined-schema-examples-2020-12",
    ] {
        let text = std::fs::read_to_string(format!("/tmp/cf/{file}.fixed.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        let (mut agree, mut stricter, mut looser) = (0, 0, 0);
        for case in &cases {
            let (old, new) = (&case["original_schema"], &case["update_schema"]);
            let found = check(Compatibility::Backward, new, &[Earlier { version: 1, schema: old }]);
            let theirs = case["compatible"].as_bool().unwrap();
            let path =
                found.first().map(|f| format!("{} {} {}", f.rule.as_str(), f.pointer, f.message)).unwrap_or_default();
            match (theirs, found.is_empty()) {
                (a, b) if a == b => agree += 1,
                (true, false) => {
                    stricter += 1;
                    println!(
                        "STRICTER {file}: {} : {path}\n   {old}\n   {new}\n {}",
                        case["description"], case["changes"]
                    );
                }
                _ => {
                    looser += 1;
                    println!("LOOSER {file}: {} \n   {old}\n   {new}\n  {}", case["description"], case["changes"]);
                }
            }
        }
        println!("{file}: {} agree {agree} stricter {stricter} looser {looser}", cases.len());
        totals = (totals.0 + cases.len(), totals.1 + agree, totals.2 + stricter, totals.3 + looser);
    }
    println!("TOTAL {totals:?}");
    // reflexive
    for file in [
        "diff-schema-examples",
        "diff-schema-examples-2020-12",
        "diff-combined-schema-examples",
        "diff-combined-schema-examples-2020-12",
    ] {
        let text = std::fs::read_to_string(format!("/tmp/cf/{file}.fixed.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        for case in &cases {
            for key in ["original_schema", "update_schema"] {
                let names = Names { reader: "R".into(), writer: "W".into() };
                let copy = case[key].clone();
                let found = compare(&case[key], &copy, &names);
                if !found.is_empty() {
                    println!("NOT REFLEXIVE {} {found:?}", case[key]);
                }
            }
        }
    }
}
