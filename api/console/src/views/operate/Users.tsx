/** The users: find one, add one. */
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { call } from "../../protocol/http";
import type { UserWithTurns } from "../../protocol/types";
import { go } from "../../state/route";
import { count, since } from "../format";
import { attempt, Answer, At, Choice, loadUsers, More, Table, useAsked, useFirst, UserLink } from "./parts";

type Role = "member" | "admin";
const ROLES: Record<Role, string> = { member: "member", admin: "admin, who may do all that this page does" };

export function Users() {
  const asked = useAsked(loadUsers);
  return (
    <>
      <h1>Users</h1>
      <Answer asked={asked}>{(users) => (users.length === 0 ? <NoUsers /> : <UserTable users={users} />)}</Answer>
    </>
  );
}

function NoUsers() {
  return (
    <p class="quiet">
      There are no users: this server serves its own machine. Add the first one there, with <code>threadhouse users add NAME --role admin</code>, and a key with{" "}
      <code>threadhouse keys create NAME</code>. From then on everybody needs a key.
    </p>
  );
}

function UserTable({ users }: { users: readonly UserWithTurns[] }) {
  const text = useSignal("");
  const wanted = text.value.trim().toLowerCase();
  const found = users.filter((user) => user.name.toLowerCase().includes(wanted));
  const { shown, more } = useFirst(found);
  return (
    <>
      <div class="row wrap">
        <input type="search" aria-label="Find a user by name" placeholder="Name" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        <AddUser />
      </div>
      {found.length === 0 && <p class="quiet">No user has this in the name.</p>}
      {found.length > 0 && (
        <Table head={["Name", "Role", ["Active turns"], "Since", "State"]} label="Users">
          {shown.map((user) => (
            <tr key={user.userId}>
              <td>
                <UserLink userId={user.userId} />
              </td>
              <td>{user.role}</td>
              <td class="number">{count(user.activeTurns)}</td>
              <td>
                <At ms={user.createdAtMs} />
              </td>
              <td>{user.disabledAtMs === null ? "may sign in" : <><span class="badge failed">disabled</span> {since(user.disabledAtMs)}</>}</td>
            </tr>
          ))}
        </Table>
      )}
      <More more={more} />
    </>
  );
}

function AddUser() {
  const open = useSignal(false);
  const name = useSignal("");
  const role = useSignal<Role>("member");
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.focus(), [open.value]); // before the next key
  if (!open.value) return <button onClick={() => (open.value = true)}>Add a user</button>;
  const add = async () => {
    let userId = "";
    const act = async () => {
      userId = (await call("admin/user/add", { name: name.value.trim(), role: role.value })).user.userId;
      await loadUsers();
    };
    if (await attempt(`${name.value} is added, and needs a key.`, act)) go({ page: "admin", tab: "users", id: userId });
  };
  return (
    <form class="card row wrap" onSubmit={(event) => (event.preventDefault(), void add())}>
      <label class="row">
        <span class="quiet">Name</span>
        <input ref={field} required maxLength={64} autocomplete="off" value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />
      </label>
      <Choice label="Role" value={role} choices={ROLES} />
      <button class="primary" type="submit">
        Add
      </button>
      <button type="button" class="plain" onClick={() => (open.value = false)}>
        Cancel
      </button>
    </form>
  );
}
