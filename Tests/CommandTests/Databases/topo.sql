-- extensions: postgis, postgis_topology
CREATE EXTENSION postgis; CREATE EXTENSION postgis_topology;
SELECT topology.CreateTopology('city', 3857, 0.001);
CREATE TABLE parcels(id serial PRIMARY KEY, label text NOT NULL UNIQUE);
SELECT topology.AddTopoGeometryColumn('city','public','parcels','topo','POLYGON');
SELECT topology.TopoGeo_AddPolygon('city', ST_MakeEnvelope(i*10, 0, i*10+10, 10, 3857)) FROM generate_series(0,19) i;
INSERT INTO parcels(label,topo) SELECT 'P'||i, topology.toTopoGeom(ST_MakeEnvelope(i*10, 0, i*10+10, 10, 3857),'city',1) FROM generate_series(0,19) i;
SELECT topology.CreateTopology('roads', 4326);
SELECT topology.TopoGeo_AddLineString('roads', ST_SetSRID(ST_MakeLine(ST_MakePoint(i,0),ST_MakePoint(i,5)),4326)) FROM generate_series(1,15) i;
CREATE VIEW parcel_geoms AS SELECT id, label, topo::geometry AS g FROM parcels;
CREATE MATERIALIZED VIEW parcel_area AS SELECT id, ST_Area(topo::geometry) AS a FROM parcels;
CREATE TABLE notes(id int GENERATED ALWAYS AS IDENTITY, parcel int REFERENCES parcels, body text);
INSERT INTO notes(parcel,body) SELECT 1+i%20, repeat('note ',i%30) FROM generate_series(1,800) i;
ALTER DATABASE topo SET search_path = public, topology;
