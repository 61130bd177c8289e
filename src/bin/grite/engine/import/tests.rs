//! What an import leaves as it is.

use libgrite_ipc::IpcCommand;
use libgrite_ipc::grite::{ForeignIssue, IssueState};

use crate::engine::Engine;
use crate::engine::tests::{foreign, import, scratch, shown, write};

/// Later than whatever is done here.
const LATER: &str = "2100-01-01T00:00:00Z";

fn set(engine: &Engine, id: &str, state: IssueState) {
    let (write, id) = (write(), id.to_owned());
    engine.execute(&match state {
        IssueState::Open => IpcCommand::IssueReopen { write, id },
        IssueState::Closed => IpcCommand::IssueClose { write, id },
    });
    assert_eq!(shown(engine, "x-1").state, state);
}

#[test]
fn a_state_that_was_set_here_outlives_a_line_where_only_its_time_is_new() {
    for (theirs, ours) in [(IssueState::Open, IssueState::Closed), (IssueState::Closed, IssueState::Open)] {
        let (_dir, engine) = scratch();
        let mut line = ForeignIssue { state: theirs, ..foreign("x-1") };
        import(&engine, &[line.clone()]);
        set(&engine, "x-1", ours);

        LATER.clone_into(&mut line.updated_at);
        assert_eq!(import(&engine, &[line.clone()]), [0, 1, 0]);
        assert_eq!(import(&engine, &[line.clone()]), [0, 0, 1]);
        let issue = shown(&engine, "x-1");
        assert_eq!((issue.state, issue.updated_at.as_str()), (ours, LATER));

        // What the tracker itself changes is taken over.
        "2100-01-02T00:00:00Z".clone_into(&mut line.updated_at);
        line.state = ours;
        import(&engine, &[line.clone()]);
        "2100-01-03T00:00:00Z".clone_into(&mut line.updated_at);
        line.state = theirs;
        assert_eq!(import(&engine, &[line]), [0, 1, 0]);
        assert_eq!(shown(&engine, "x-1").state, theirs);
    }
}
