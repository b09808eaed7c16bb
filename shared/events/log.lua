-- Appends one batch of events to a thread's log, keeps its open items, and publishes what was appended.
-- KEYS: log (stream), keys (zset: durable keys that the log has), open (hash: open items), meta (hash)
-- ARGV: writer, number, fencing token "CLAIM:RANK" or "", max_entries, max_bytes, ttl_seconds, expects_log (0/1), thread channel, user channel, prefix of text keys,
--       the key of item/completed with %s for the item's id, then eight per event: method, key, item, role, stream, scope, frame head, text
-- Returns: "ok" | "repeated" | "refused" | "empty"
-- What a batch reads and writes is gathered, so that the number of commands hardly grows with the number of its events.
local log, keys, open, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local writer, number, token = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local max_entries, max_bytes, ttl, expects = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local channel, user_channel, text_prefix, completed_key = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local AT_ONCE = 1000 -- arguments of one command, an even number
local KEYS_TRIMMED_EVERY = 64 -- events

-- Calls a command with all arguments, a part at a time. Returns the answers of commands that give one for each argument.
local function call_for_all(command, name, arguments)
  local answers = {}
  for first = 1, #arguments, AT_ONCE do
    local part = redis.call(command, name, unpack(arguments, first, math.min(first + AT_ONCE - 1, #arguments)))
    if type(part) == 'table' then
      for i = 1, AT_ONCE do answers[first + i - 1] = part[i] end
    end
  end
  return answers
end

local found = redis.call('HMGET', meta, 'w:' .. writer, 'fencing_token', 'added', 'slice_bytes', 'slices', 'background', 'expires_ms', 'has_keys')
local seen, largest, slices, background = found[1], found[2], found[5] or '', found[6] or ''
local added, slice_bytes, expires_ms, has_keys = tonumber(found[3] or 0), tonumber(found[4] or 0), tonumber(found[7] or 0), found[8]
local changed = {} -- of meta: field, value, …

local function change(field, value)
  changed[#changed + 1] = field
  changed[#changed + 1] = value
end

if number > 0 then
  if seen and tonumber(seen) >= number then return 'repeated' end
  change('w:' .. writer, number)
end

-- Whether one fencing token is larger than another: by claim first, by rank second (shared/events/fencing.py).
local function is_larger(token, other)
  local claim, rank = string.match(token, '^(%d+):(%d+)$')
  local other_claim, other_rank = string.match(other, '^(%d+):(%d+)$')
  if claim ~= other_claim then return tonumber(claim) > tonumber(other_claim) end
  return tonumber(rank) > tonumber(other_rank)
end

if token ~= '' then
  if largest and is_larger(largest, token) then return 'refused' end
  if not largest and expects == '1' then return 'empty' end
  change('fencing_token', token)
end

-- The durable keys of this batch that the log has already.
local known = {}
do
  local asked = {}
  for i = 12, #ARGV, 8 do
    if ARGV[i + 1] ~= '' then asked[#asked + 1] = ARGV[i + 1] end
  end
  local scores = call_for_all('ZMSCORE', keys, asked)
  for i, key in ipairs(asked) do known[key] = scores[i] and true end
end

local function is_completed(item)
  local key = string.format(completed_key, item)
  return known[key] or redis.call('ZSCORE', keys, key)
end

-- The fields of `open`, read when they are first needed: "item", and "item\tstream" for each of its texts.
local fields
local dropped, begun_texts, ended = {}, {}, {}
-- What this batch adds to them is written at the end, because most items that begin in a batch end in it: the heads of items, and the parts of texts.
local heads, parts = {}, {}

local function open_fields()
  if not fields then
    fields = {}
    for _, field in ipairs(redis.call('HKEYS', open)) do fields[field] = true end
  end
  return fields
end

local function has_begun(item) return heads[item] or open_fields()[item] end

local function forget(field)
  heads[field], parts[field] = nil, nil
  if open_fields()[field] then
    fields[field] = nil
    dropped[#dropped + 1] = field
    if string.find(field, '\t', 1, true) then redis.call('DEL', text_prefix .. field) end
  end
end

-- Forgets the fields for which matches(field) is true, those of this batch too.
local function forget_all(matches)
  local found = {}
  for _, names in ipairs({ open_fields(), heads, parts }) do
    for field in pairs(names) do found[field] = matches(field) or nil end
  end
  for field in pairs(found) do forget(field) end
end

-- The items of commands that run on after their turn stand in meta, each between spaces, so that no turn's end closes them.
local function is_background(item) return string.find(background, ' ' .. item .. ' ', 1, true) end

local function remove_background(item)
  local first, last = is_background(item)
  if first then background = string.sub(background, 1, first) .. string.sub(background, last + 1) end
end

local function close(item)
  remove_background(item)
  local prefix = item .. '\t'
  local function belongs(field) return field == item or string.sub(field, 1, #prefix) == prefix end
  if heads[item] then -- it began in this batch, so Redis has nothing of it, unless it began before the log's oldest key
    heads[item] = nil
    ended[#ended + 1] = item
    for field in pairs(parts) do
      if belongs(field) then parts[field] = nil end
    end
  else
    forget_all(belongs)
  end
end

local function close_all_but(kept)
  forget_all(function(field)
    local item = string.match(field, '^[^\t]*')
    return not string.find(kept, item, 1, true) and not is_background(item)
  end)
end

-- The log's size in bytes is counted in slices of an eighth of max_bytes. meta has the bytes of the newest slice, and
-- `slices`: the id of the event that ended each earlier one, oldest first. Trimming therefore reads no event.
local SLICES = 8
local slice_limit = max_bytes / SLICES
local sliced = {}

local function trim_by_bytes()
  local ids = {}
  for id in string.gmatch(slices, '%S+') do ids[#ids + 1] = id end
  for _, id in ipairs(sliced) do ids[#ids + 1] = id end
  if #ids >= SLICES then redis.call('XTRIM', log, 'MINID', ids[#ids - SLICES + 1]) end
  change('slices', table.concat(ids, ' ', math.max(1, #ids - SLICES + 1)))
end

local PUBLISHED_BYTES = 65536 -- of one message
local appended, appended_bytes, for_user, new_keys, last_id = {}, 0, {}, {}, nil
local added_before, background_before = added, background
for i = 12, #ARGV, 8 do
  local method, key, item, role = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local stream, scope, head, text = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  local fresh = not known[key]
  local is_open = role == 'delta' and has_begun(item)
  if role == 'delta' and not is_open and is_completed(item) then fresh = false end
  if fresh then
    if method ~= '' then
      last_id = redis.call('XADD', log, 'MAXLEN', '~', max_entries, '*', 'h', method .. '\t' .. key .. '\t' .. item, 'f', head)
      local line = last_id .. '\t' .. method .. '\t' .. key .. '\t' .. item .. '\n' .. head .. '\n'
      appended[#appended + 1] = line
      appended_bytes = appended_bytes + #line
      slice_bytes = slice_bytes + #line
      if slice_bytes >= slice_limit then
        for _ = 1, math.min(SLICES, math.floor(slice_bytes / slice_limit)) do sliced[#sliced + 1] = last_id end
        slice_bytes = slice_bytes % slice_limit
      end
      if scope == 'user' then for_user[#for_user + 1] = line end
      added = added + 1
      if key ~= '' then
        known[key] = true
        new_keys[#new_keys + 1] = added
        new_keys[#new_keys + 1] = key
      end
    end
    if role == 'start' then
      heads[item] = head
    elseif is_open then
      local field = item .. '\t' .. stream
      parts[field] = parts[field] or {}
      table.insert(parts[field], text)
    elseif role == 'end' then
      close(item)
    elseif role == 'background' and has_begun(item) and not is_background(item) then
      background = (background == '' and ' ' or background) .. item .. ' '
    elseif role == 'keep' then
      close_all_but(text)
    end
  end
end

if fields then -- those of Redis are known, so only they are removed
  local left = {}
  for _, item in ipairs(ended) do
    if fields[item] then left[#left + 1] = item end
  end
  ended = left
end
local reopened = 0
for first = 1, #ended, AT_ONCE do
  reopened = reopened + redis.call('HDEL', open, unpack(ended, first, math.min(first + AT_ONCE - 1, #ended)))
end
if reopened > 0 then
  for _, item in ipairs(ended) do
    local prefix = item .. '\t'
    forget_all(function(field) return string.sub(field, 1, #prefix) == prefix end)
  end
end
call_for_all('HDEL', open, dropped)
local opened = {}
for item, head in pairs(heads) do
  opened[#opened + 1] = item
  opened[#opened + 1] = head
end
for field, texts in pairs(parts) do
  if heads[string.match(field, '^[^\t]*')] or not open_fields()[field] then
    opened[#opened + 1] = field
    opened[#opened + 1] = ''
    begun_texts[#begun_texts + 1] = text_prefix .. field
  end
  redis.call('APPEND', text_prefix .. field, table.concat(texts))
end
call_for_all('HSET', open, opened)
call_for_all('ZADD', keys, new_keys)
if #appended > 0 then
  change('added', added)
  change('slice_bytes', slice_bytes)
  if #sliced > 0 then trim_by_bytes() end
  if math.floor(added / KEYS_TRIMMED_EVERY) > math.floor(added_before / KEYS_TRIMMED_EVERY) then
    redis.call('ZREMRANGEBYRANK', keys, 0, -max_entries - 1)
  end
  -- Redis ends a subscriber for whom 32 MB wait, so followers read what is large from the log.
  redis.call('PUBLISH', channel, appended_bytes <= PUBLISHED_BYTES and table.concat(appended) or '')
end
local some, some_bytes = {}, 0
for _, line in ipairs(for_user) do
  if some_bytes > 0 and some_bytes + #line > PUBLISHED_BYTES then
    redis.call('PUBLISH', user_channel, table.concat(some))
    some, some_bytes = {}, 0
  end
  some[#some + 1] = line
  some_bytes = some_bytes + #line
end
if some_bytes > 0 then redis.call('PUBLISH', user_channel, table.concat(some)) end
if background ~= background_before then change('background', background) end
-- All parts expire at the same moment: a log without its keys would take events twice, and keys without their log would
-- keep it from being refilled. The moment is moved when an eighth of ttl has passed, and holds for parts made meanwhile.
local now_ms = last_id and tonumber(string.match(last_id, '^%d+'))
local has_moved = expires_ms == 0 or (now_ms and now_ms + ttl * 1000 - expires_ms > ttl * 1000 / 8)
if has_moved then
  expires_ms = (now_ms or redis.call('TIME')[1] * 1000) + ttl * 1000
  change('expires_ms', string.format('%.0f', expires_ms))
end
if #new_keys > 0 and not has_keys then change('has_keys', 1) end
if #changed > 0 then call_for_all('HSET', meta, changed) end

local function expire(key) redis.call('PEXPIREAT', key, string.format('%.0f', expires_ms)) end

if has_moved or (added_before == 0 and added > 0) then expire(log) end
if has_moved then
  expire(meta)
  for field in pairs(open_fields()) do
    if string.find(field, '\t', 1, true) then expire(text_prefix .. field) end
  end
end
for _, key in ipairs(begun_texts) do expire(key) end
if has_moved or (#new_keys > 0 and not has_keys) then expire(keys) end
if has_moved or #opened > 0 then expire(open) end
return 'ok'
