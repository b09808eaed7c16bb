-- Appends one batch of events to a thread's log, keeps its open items, and announces what was appended.
-- KEYS: log (stream), keys (zset: durable keys that the log has), open (hash: open items), meta (hash)
-- ARGV: writer, number, claim_no or "", max_entries, ttl_seconds, expects_log (0/1), thread channel, owner channel, prefix of text keys,
--       then eight per event: method, key, item, role, stream, scope, frame head, text
-- Returns: {"ok" | "repeated" | "refused" | "empty"}
local log, keys, open, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local writer, number, claim_no = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local max_entries, ttl, expects = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local channel, owner_channel, text_prefix = ARGV[7], ARGV[8], ARGV[9]

if number > 0 then
  local seen = redis.call('HGET', meta, 'w:' .. writer)
  if seen and tonumber(seen) >= number then return 'repeated' end
end
if claim_no ~= '' then
  local held = redis.call('HGET', meta, 'claim_no')
  if held and tonumber(held) > tonumber(claim_no) then return 'refused' end
  if not held and expects == '1' then return 'empty' end
  redis.call('HSET', meta, 'claim_no', claim_no)
end

local function text_key(field) return text_prefix .. field end

local function close(item)
  for _, field in ipairs(redis.call('HKEYS', open)) do
    if field == item or string.sub(field, 1, #item + 1) == item .. '\t' then
      redis.call('HDEL', open, field)
      redis.call('DEL', text_key(field))
    end
  end
end

local function close_all_but(kept)
  for _, field in ipairs(redis.call('HKEYS', open)) do
    local item = string.match(field, '^[^\t]*')
    if not string.find(kept, item, 1, true) then
      redis.call('HDEL', open, field)
      redis.call('DEL', text_key(field))
    end
  end
end

local announced, for_owner = {}, {}
for i = 10, #ARGV, 8 do
  local method, key, item, role = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local stream, scope, head, text = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 7]
  local fresh = key == '' or not redis.call('ZSCORE', keys, key)
  local is_open = role == 'delta' and redis.call('HEXISTS', open, item) == 1
  if role == 'delta' and not is_open and redis.call('ZSCORE', keys, 'item:' .. item .. ':completed') then fresh = false end
  if fresh then
    if method ~= '' then
      local id = redis.call('XADD', log, '*', 'h', method .. '\t' .. key .. '\t' .. item, 'f', head)
      local line = id .. '\t' .. method .. '\t' .. key .. '\t' .. item .. '\n' .. head .. '\n'
      announced[#announced + 1] = line
      if scope == 'all' then for_owner[#for_owner + 1] = line end
      local added = redis.call('HINCRBY', meta, 'added', 1)
      if key ~= '' then redis.call('ZADD', keys, added, key) end
    end
    if role == 'start' then
      redis.call('HSET', open, item, head)
    elseif is_open then
      redis.call('HSET', open, item .. '\t' .. stream, '')
      redis.call('APPEND', text_key(item .. '\t' .. stream), text)
      redis.call('EXPIRE', text_key(item .. '\t' .. stream), ttl)
    elseif role == 'end' then
      close(item)
    elseif role == 'keep' then
      close_all_but(text)
    end
  end
end
if number > 0 then redis.call('HSET', meta, 'w:' .. writer, number) end
if #announced > 0 then
  redis.call('XTRIM', log, 'MAXLEN', '~', max_entries)
  redis.call('ZREMRANGEBYRANK', keys, 0, -max_entries - 1)
  redis.call('PUBLISH', channel, table.concat(announced))
end
if #for_owner > 0 then redis.call('PUBLISH', owner_channel, table.concat(for_owner)) end
redis.call('EXPIRE', log, ttl)
redis.call('EXPIRE', keys, ttl)
redis.call('EXPIRE', open, ttl)
redis.call('EXPIRE', meta, ttl)
return 'ok'
