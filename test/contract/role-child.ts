// A role's process for role.test.ts: lives until its standard input ends.
process.stdin.resume();
