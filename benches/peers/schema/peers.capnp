# What the Cap'n Proto peer exchanges; src/work.rs has the same types.
@0xd3b17b5f0c6f4e21;

struct Issue {
  id @0 :Text;
  title @1 :Text;
  body @2 :Text;
  open @3 :Bool;
  labels @4 :List(Text);
  assignees @5 :List(Text);
  author @6 :Text;
  createdAt @7 :Text;
  updatedAt @8 :Text;
  comments @9 :List(Comment);
}

struct Comment {
  author @0 :Text;
  createdAt @1 :Text;
  body @2 :Text;
}

struct Summary {
  id @0 :Text;
  title @1 :Text;
  open @2 :Bool;
  labels @3 :List(Text);
  assignees @4 :List(Text);
  createdAt @5 :Text;
  updatedAt @6 :Text;
  commentCount @7 :UInt32;
}

struct Issues {
  items @0 :List(Summary);
}

interface Asked {
  echo @0 (bytes :Data) -> (bytes :Data);
  show @1 () -> (issue :Issue);
  list @2 () -> (issues :Issues);
}
