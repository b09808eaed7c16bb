/** What a user chooses for a turn: model, effort, sandbox, when to be asked. */
import type { Methods } from "../protocol/types";
import { models, refusedProfiles } from "../state/models";
import type { Settings } from "../state/thread";

type Start = Methods["turn/start"]["params"];

/** A member that is absent stays as it is. */
export interface Choice {
  model?: string;
  effort?: Exclude<Start["effort"], null>;
  sandbox?: Exclude<Start["sandbox"], null>;
  approvalPolicy?: "untrusted" | "on-request" | "never";
}

const SANDBOXES = { "read-only": "Read only", "workspace-write": "Write in the workspace", "danger-full-access": "No sandbox" };
const PROFILES: Record<string, string> = { "read-only": ":read-only", "workspace-write": ":workspace", "danger-full-access": ":danger-full-access" };
const APPROVALS = { untrusted: "Ask for each command", "on-request": "Ask when needed", never: "Never ask" };
const MODES: Record<string, string> = { readOnly: "read-only", workspaceWrite: "workspace-write", dangerFullAccess: "danger-full-access" };

interface Props {
  choice: Choice;
  settings: Settings | null;
  change: (choice: Choice) => void;
}

export function Choices({ choice, settings, change }: Props) {
  const model = choice.model ?? settings?.model ?? models.value.find((one) => one.isDefault)?.model ?? "";
  const known = models.value.find((one) => one.model === model);
  const efforts = known?.supportedReasoningEfforts.map((one) => one.reasoningEffort) ?? [];
  const effort = choice.effort ?? settings?.effort ?? known?.defaultReasoningEffort ?? "";
  const policy = settings?.approvalPolicy;
  const set = (name: keyof Choice) => (value: string) => change({ ...choice, [name]: value });
  return (
    <div class="choices">
      <Pick name="Model" value={model} set={set("model")} options={named(models.value.map((one) => [one.model, one.displayName]))} />
      {efforts.length > 0 && <Pick name="Effort" value={effort} set={set("effort")} options={named(efforts.map((one) => [one, one]))} />}
      <Pick name="Sandbox" value={choice.sandbox ?? MODES[settings?.sandbox.type ?? ""] ?? ""} set={set("sandbox")} options={sandboxes()} />
      <Pick
        name="Approvals"
        value={choice.approvalPolicy ?? (typeof policy === "string" ? policy : "")}
        set={set("approvalPolicy")}
        options={APPROVALS}
      />
    </div>
  );
}

/** Return the sandboxes that the user may ask for. */
export function sandboxes(): Record<string, string> {
  return named(Object.entries(SANDBOXES).filter(([mode]) => !refusedProfiles.value.includes(PROFILES[mode]!)));
}

function named(pairs: [string, string][]): Record<string, string> {
  return Object.fromEntries(pairs);
}

interface PickProps {
  name: string;
  value: string;
  set: (value: string) => void;
  options: Record<string, string>;
}

function Pick({ name, value, set, options }: PickProps) {
  return (
    <label class="pick small">
      <span>{name}</span>
      <select value={value} onChange={(event) => event.currentTarget.value && set(event.currentTarget.value)}>
        {!(value in options) && <option value={value}>{value || "Server's default"}</option>}
        {Object.entries(options).map(([key, text]) => (
          <option key={key} value={key}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}
