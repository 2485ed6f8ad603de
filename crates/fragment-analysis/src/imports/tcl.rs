//! `package require`, `source` and `exec` of Tcl. Its texts are lists of words: lines are enough.

use super::Import;

pub(super) fn imports(text: &str, add: &mut dyn FnMut(Import)) {
    for line in text.split(['\n', ';', '[', '{']) {
        let mut words = line
            .split([' ', '\t', ']', '}', '"', '\r'])
            .filter(|word| !word.is_empty());
        match words.next() {
            Some("package") if words.next() == Some("require") => {
                let name = words.find(|word| *word != "-exact");
                name.into_iter()
                    .for_each(|name| add(Import::Module(name.to_owned())));
            }
            Some("source") => {
                let file = words.find(|word| !word.starts_with('-') && *word != "utf-8");
                if let Some(file) = file.filter(|file| !file.contains('$')) {
                    add(Import::File(file.to_owned()));
                }
            }
            // source [file join [file dirname [info script]] x.tcl]
            Some("info") if words.next() == Some("script") => {
                let rest: Vec<&str> = words.collect();
                if let [file] = rest.as_slice()
                    && file.ends_with(".tcl")
                {
                    add(Import::File(format!("./{file}")));
                }
            }
            Some("exec" | "spawn") => {
                let command = words.find(|word| !word.starts_with('-'));
                if let Some(command) = command.filter(|word| !word.contains('$')) {
                    add(Import::Command(command.to_owned()));
                }
            }
            _ => {}
        }
    }
}
