// By which words a message says what to do, or that nothing is to be done. A check of wording, not of sense: that takes a reader.

export const REMEDY: RegExp =
  /\b(?:what to do|check|look(?! of)|see (?:what|that|the)|find|give|delete|remove|report|free|make|restart|mount|correct|apply|leave|tell it|use|choose|set |add|load|let|lower|raise|nothing is to be done|nothing)\b/i;
